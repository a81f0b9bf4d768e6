"""Settings of the documentation site (`nox -s docs`)."""

import pointsman

project = "pointsman"
author = "the pointsman developers"
copyright = "the pointsman developers"
version = release = pointsman.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
exclude_patterns = ["_build"]
napoleon_google_docstring = False
autodoc_typehints = "none"
