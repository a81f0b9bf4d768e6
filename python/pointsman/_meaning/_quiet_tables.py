"""What a function may lay its hands on and still be seen by nobody: it computes, and does nothing else.

Does not know: how a function is read.

Invariants:

I1. Nothing named here prints, writes, reads a file, a clock or random numbers, waits, or hands out something that does.
    What is missing only costs some speed.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque

# By the module that has them.
PERMITTED: dict[str, frozenset[str]] = {
    module: frozenset(names.split())
    for module, names in {
        "builtins": """BaseException abs all any ascii bin bool bytearray bytes chr complex dict divmod enumerate
            filter float format frozenset hash hex int isinstance issubclass iter len list map max min
            next object oct ord pow range repr reversed round set slice sorted str sum super tuple zip""",
        "math": """acos acosh asin asinh atan atan2 atanh cbrt ceil comb copysign cos cosh degrees dist erf erfc exp
            exp2 expm1 fabs factorial floor fma fmod frexp fsum gamma gcd hypot isclose isfinite isinf isnan isqrt lcm
            ldexp lgamma log log10 log1p log2 modf nextafter perm pow prod radians remainder sin sinh sqrt sumprod tan
            tanh trunc ulp""",
        "cmath": """acos acosh asin asinh atan atanh cos cosh exp isclose isfinite isinf isnan log log10 phase polar
            rect sin sinh sqrt tan tanh""",
        "itertools": """accumulate batched chain combinations combinations_with_replacement compress count cycle
            dropwhile filterfalse groupby islice pairwise permutations product repeat starmap takewhile tee
            zip_longest""",
        "operator": """abs add and_ concat contains countOf eq floordiv ge getitem gt indexOf inv invert is_ is_not
            itemgetter le lshift lt matmul mod mul ne neg not_ or_ pos pow rshift sub truediv truth xor""",
        "functools": "cmp_to_key partial reduce",
        "collections": "ChainMap Counter OrderedDict defaultdict deque",
        "copy": "copy deepcopy",
        "json": "dumps loads JSONDecodeError",
        "re": "compile escape findall finditer fullmatch match search split sub subn error",
        "hashlib": """blake2b blake2s md5 new pbkdf2_hmac scrypt sha1 sha224 sha256 sha384 sha3_224 sha3_256 sha3_384
            sha3_512 sha512 shake_128 shake_256""",
        "hmac": "compare_digest digest new",
        "statistics": """correlation covariance fmean geometric_mean harmonic_mean linear_regression mean median
            median_grouped median_high median_low mode multimode pstdev pvariance quantiles stdev variance""",
        "fractions": "Fraction",
        "struct": "calcsize iter_unpack pack unpack unpack_from",
        "zlib": "adler32 compress crc32 decompress error",
        "bz2": "compress decompress",
        "lzma": "compress decompress LZMAError",
        "base64": """b16decode b16encode b32decode b32encode b64decode b64encode b85decode b85encode
            urlsafe_b64decode urlsafe_b64encode""",
        "binascii": "a2b_base64 a2b_hex b2a_base64 b2a_hex crc32 hexlify unhexlify",
        "bisect": "bisect bisect_left bisect_right insort insort_left insort_right",
        "heapq": "heapify heappop heappush heappushpop heapreplace merge nlargest nsmallest",
        "unicodedata": "category combining normalize numeric",
        "string": "capwords",
        "textwrap": "dedent fill indent shorten wrap",
        "html": "escape unescape",
        "difflib": "get_close_matches ndiff unified_diff",
        "colorsys": "hls_to_rgb hsv_to_rgb rgb_to_hls rgb_to_hsv rgb_to_yiq yiq_to_rgb",
        "numpy": """abs absolute add all allclose amax amin angle any append arange arccos arccosh arcsin arcsinh arctan
            arctan2 arctanh argmax argmin argpartition argsort argwhere around array array_equal array_split asarray
            ascontiguousarray atleast_1d atleast_2d atleast_3d average bincount bitwise_and bitwise_or bitwise_xor bool_
            broadcast_to cbrt ceil clip column_stack complex128 complex64 concatenate conj convolve copysign corrcoef
            correlate cos cosh count_nonzero cov cross cumprod cumsum deg2rad degrees delete diag diagonal diff digitize
            divide dot einsum equal exp exp2 expand_dims expm1 eye fabs flip float16 float32 float64 floor floor_divide
            fmax fmin fmod full full_like gcd gradient greater greater_equal hamming hanning heaviside histogram hsplit
            hstack hypot identity indices inner insert int16 int32 int64 int8 interp intersect1d isclose isfinite isin
            isinf isnan kron lcm less less_equal lexsort linspace log log10 log1p log2 logaddexp logical_and logical_not
            logical_or logical_xor logspace matmul max maximum mean median meshgrid min minimum mod moveaxis multiply
            nan_to_num nanmax nanmean nanmedian nanmin nanstd nansum nanvar negative nonzero not_equal ones ones_like
            outer pad partition percentile polyfit polyval power prod ptp quantile rad2deg radians ravel real reciprocal
            remainder repeat reshape roll rot90 round searchsorted select setdiff1d sign sin sinc sinh sort split sqrt
            square squeeze stack std subtract sum swapaxes take tan tanh tensordot tile trace transpose trapezoid trapz
            tri tril triu true_divide trunc uint16 uint32 uint64 uint8 union1d unique vander var vdot vstack where zeros
            zeros_like""",
        "numpy.linalg": """LinAlgError cholesky det eig eigh eigvals eigvalsh inv lstsq matrix_power matrix_rank norm
            pinv qr slogdet solve svd""",
        "numpy.fft": "fft fft2 fftfreq fftn fftshift ifft ifft2 ifftn ifftshift irfft rfft rfftfreq",
    }.items()
}
# Types of numpy's arrays whose items are plain data.
DTYPES = "biufcSUmM"
_TYPES: tuple[type, ...] = (
    int, float, complex, bool, str, bytes, bytearray, list, tuple, dict, set, frozenset, range, slice,
    deque, Counter, OrderedDict, defaultdict,
)  # fmt: skip
_OTHERS = """T accumulate args argmax argmin argsort astype block_size clip cumprod cumsum diagonal digest digest_size
dot dtype flat flatten from_iterable hexdigest item itemsize max mean min ndim nonzero outer prod ravel reduce repeat
reshape round searchsorted shape size squeeze std sum swapaxes take tobytes tolist trace transpose var view"""
# Of patterns and their matches: the `re` module takes milliseconds to load.
PATTERNS = """end endpos expand findall finditer flags fullmatch group groupdict groupindex groups lastgroup lastindex
match pattern pos re regs scanner search span split start string sub subn"""
# Attributes of objects of those types and of what the functions above give.
ATTRIBUTES: frozenset[str] = frozenset(
    [name for cls in _TYPES for name in dir(cls) if not name.startswith("_")]
    + _OTHERS.split()
    + PATTERNS.split()
    + ["__init__", "__name__"]
)
# Those that reach outside where objects have them, so that a class of the program cannot make their names allowed.
LOUD_ATTRIBUTES = frozenset("ag_frame cr_frame ctypes dump fromfile gi_frame samples tb_frame tofile".split())  # noqa: SIM905 - a line, not 9
# Names in a class that are nothing it does.
CLASS_NAMES = frozenset(
    [
        "__module__",
        "__qualname__",
        "__doc__",
        "__dict__",
        "__weakref__",
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__slots__",
        "__firstlineno__",
        "__static_attributes__",
        "__match_args__",
    ]
)
# Instructions that write to what others see, or read in a way that is not followed.
REFUSED = frozenset(
    [
        "STORE_GLOBAL",
        "DELETE_GLOBAL",
        "STORE_NAME",
        "DELETE_NAME",
        "LOAD_NAME",
        "LOAD_LOCALS",
        "LOAD_FROM_DICT_OR_DEREF",
        "LOAD_FROM_DICT_OR_GLOBALS",
        "LOAD_BUILD_CLASS",
        "DELETE_ATTR",
        "MATCH_CLASS",
    ]
)
