"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const column = (text, Kind) => {
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let at = 0; at < raw.length; at++) bytes[at] = raw.charCodeAt(at);
    return new Kind(bytes.buffer);
  };
  const c = data.calls, m = data.moves;
  const began = column(c.began, Float64Array), lasted = column(c.lasted, Float32Array);
  const queue = column(c.queue, Float32Array), dispatch = column(c.dispatch, Float32Array);
  const cpu = column(c.cpu, Float32Array), held = column(c.held, Float32Array), transfer = column(c.transfer, Float32Array);
  const index = column(c.index, Int32Array), name = column(c.name, Uint16Array), job = column(c.job, Int32Array);
  const ending = column(c.ending, Uint8Array);
  const movedAt = column(m.began, Float64Array), movedFor = column(m.lasted, Float32Array), kind = column(m.kind, Uint8Array);
  const ENDINGS = ["returned", "raised", "died", "cancelled"], MOVES = ["send", "receive", "dispatch", "transfer"];
  let from = 0, fromMove = 0;
  for (const row of data.rows) {
    row.from = from; row.to = from += row.calls;
    row.fromMove = fromMove; row.toMove = fromMove += row.moves;
    // The longest call says how far back one may begin that is still to be seen.
    row.longest = 0;
    for (let at = row.from; at < row.to; at++) row.longest = Math.max(row.longest, lasted[at]);
    row.longestMove = 0;
    for (let at = row.fromMove; at < row.toMove; at++) row.longestMove = Math.max(row.longestMove, movedFor[at]);
  }

  const axis = document.getElementById("axis"), canvas = document.getElementById("calls");
  const box = document.getElementById("rows"), tip = document.getElementById("tip");
  const LEFT = 150, TICKS = 26, BAND = 18, least = 0.05;
  const rowHeight = Math.max(15, Math.min(30, Math.floor(440 / Math.max(1, data.rows.length))));
  // Jobs that overlap lie below one another.
  const lanes = [];
  for (const one of data.jobs) {
    let lane = lanes.findIndex((end) => end <= one.began);
    if (lane < 0) lane = lanes.length;
    one.lane = Math.min(lane, 3);
    lanes[lane] = one.ended;
  }
  const bands = data.jobs.length ? Math.min(4, lanes.length) : 0, axisHeight = TICKS + bands * BAND + (bands ? 4 : 0);
  const whole = Math.max(data.span, 1);
  let start = -whole * 0.005, span = whole * 1.01, width = 0;

  const human = (micros) => {
    if (!isFinite(micros)) return "–";
    const size = Math.abs(micros);
    if (size >= 1e6) return +(micros / 1e6).toPrecision(4) + " s";
    if (size >= 1e3) return +(micros / 1e3).toPrecision(3) + " ms";
    if (size >= 1) return +micros.toPrecision(3) + " µs";
    return size ? Math.round(micros * 1e3) + " ns" : "0";
  };
  const style = (what) => getComputedStyle(document.documentElement).getPropertyValue("--" + what).trim();
  const HUES = [214, 158, 276, 32, 190, 330, 100, 250];
  let ink = {};
  const paint = () => {
    for (const what of ["ink", "quiet", "line", "soft", "card", "bad", "transfer", "predicted"]) ink[what] = style(what);
    ink.dark = getComputedStyle(document.documentElement).colorScheme.includes("dark");
    ink.names = data.names.map((_, at) => `hsl(${HUES[at % 8]} ${at < 8 ? 62 : 35}% ${ink.dark ? 60 : 52}%)`);
    const legend = document.getElementById("names");
    legend.replaceChildren(...data.names.slice(0, 16).map((text, at) => {
      const item = document.createElement("li"), mark = document.createElement("i");
      mark.style.background = ink.names[at];
      item.append(mark, text);
      return item;
    }));
    for (const [what, text] of [["transfer", "dispatch and transfer"], ["bad", "raised or died"]]) {
      const item = document.createElement("li"), mark = document.createElement("i");
      mark.style.background = ink[what];
      item.append(mark, text);
      legend.append(item);
    }
  };

  const x = (micros) => LEFT + (micros - start) / span * (width - LEFT);
  const first = (times, low, high, value) => {
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] < value) low = middle + 1; else high = middle;
    }
    return low;
  };

  const ready = (target, height) => {
    const scale = window.devicePixelRatio || 1;
    target.width = Math.round(width * scale);
    target.height = Math.round(height * scale);
    target.style.height = height + "px";
    const pen = target.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    return pen;
  };

  const step = () => {
    const rough = span / Math.max(3, (width - LEFT) / 110), unit = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((factor) => factor * unit).find((one) => one >= rough);
  };

  const clipped = (pen, text, most) => {
    if (most < 14) return "";
    if (pen.measureText(text).width <= most) return text;
    let cut = text;
    while (cut && pen.measureText(cut + "…").width > most) cut = cut.slice(0, -1);
    return cut ? cut + "…" : "";
  };

  const drawAxis = () => {
    const pen = ready(axis, axisHeight), every = step();
    pen.textAlign = "center";
    for (let at = Math.ceil(start / every) * every; at <= start + span; at += every) {
      const place = x(at);
      if (place < LEFT) continue;
      pen.fillStyle = ink.line;
      pen.fillRect(place, TICKS - 6, 1, 6);
      pen.fillStyle = ink.quiet;
      if (place < width - 20) pen.fillText(human(Math.abs(at) < every / 1e3 ? 0 : at), place, 10);
    }
    pen.textAlign = "left";
    for (const one of data.jobs) {
      const left = Math.max(LEFT, x(one.began)), right = Math.min(width, x(one.ended)), top = TICKS + one.lane * BAND;
      if (right <= LEFT || left >= width) continue;
      pen.fillStyle = one.failed ? ink.bad : ink.predicted;
      pen.globalAlpha = 0.35;
      pen.fillRect(left, top, Math.max(1.5, right - left - 1), BAND - 3);
      pen.globalAlpha = 1;
      pen.fillStyle = ink.ink;
      pen.fillText(clipped(pen, one.label, right - left - 8), left + 4, top + BAND / 2 - 1);
    }
    pen.clearRect(0, 0, LEFT, axisHeight);
    pen.fillStyle = ink.quiet;
    if (bands) pen.fillText("jobs", 10, TICKS + BAND / 2 - 1);
  };

  // Calls narrower than a pixel are added up: a column is as strong as it is busy.
  const busy = new Float32Array(8192), colours = new Array(8192);
  const drawRow = (pen, row, top, height) => {
    const columns = Math.min(busy.length, Math.ceil(width - LEFT));
    busy.fill(0, 0, columns);
    const perPixel = span / (width - LEFT), end = start + span;
    const put = (at, length, colour, inset, label) => {
      const left = x(at), right = x(at + length);
      if (right < LEFT || left > width) return;
      if (right - left < 1.2) {
        const place = Math.max(0, Math.min(columns - 1, Math.floor(left - LEFT)));
        busy[place] += length / perPixel;
        if (!colours[place] || busy[place] === length / perPixel || colour === ink.bad) colours[place] = colour;
        return;
      }
      const from = Math.max(LEFT, left), size = Math.min(width, right) - from;
      pen.fillStyle = colour;
      pen.fillRect(from, top + inset, Math.max(0.6, size - (size > 4 ? 1 : 0)), height - 2 * inset);
      if (label && size > 44) {
        pen.fillStyle = "#fff";
        pen.fillText(clipped(pen, label, size - 10), from + 5, top + height / 2);
      }
    };
    for (let at = first(movedAt, row.fromMove, row.toMove, start - row.longestMove); at < row.toMove && movedAt[at] <= end; at++) {
      put(movedAt[at], movedFor[at], ink.transfer, height / 4, "");
    }
    for (let at = first(began, row.from, row.to, start - row.longest); at < row.to && began[at] <= end; at++) {
      const text = index[at] >= 0 ? data.names[name[at]] + " " + index[at] : data.names[name[at]];
      const bad = ending[at] === 1 || ending[at] === 2;
      put(began[at], lasted[at], bad ? ink.bad : ink.names[name[at]], 2, height >= 17 ? text : "");
    }
    for (let place = 0; place < columns; place++) {
      if (!busy[place]) continue;
      pen.globalAlpha = Math.min(1, 0.25 + 0.75 * busy[place]);
      pen.fillStyle = colours[place];
      pen.fillRect(LEFT + place, top + 2, 1, height - 4);
      colours[place] = null;
    }
    pen.globalAlpha = 1;
  };

  const drawCalls = () => {
    const pen = ready(canvas, Math.max(1, data.rows.length) * rowHeight + 2), every = step();
    pen.fillStyle = ink.soft;
    for (let at = Math.ceil(start / every) * every; at <= start + span; at += every) {
      if (x(at) >= LEFT) pen.fillRect(x(at), 0, 1, canvas.height);
    }
    data.rows.forEach((row, number) => {
      const top = number * rowHeight + 1;
      drawRow(pen, row, top, rowHeight - 2);
      pen.clearRect(0, top - 1, LEFT, rowHeight);
      pen.fillStyle = row.own ? ink.ink : ink.quiet;
      pen.fillText(clipped(pen, row.label, LEFT - 20), 10, top + rowHeight / 2 - 1);
    });
  };

  let asked = false;
  const draw = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      width = box.clientWidth;
      drawAxis();
      drawCalls();
    });
  };
  const look = (newStart, newSpan) => {
    span = Math.max(least, Math.min(whole * 1.2, newSpan));
    start = Math.max(-0.1 * whole - 0.02 * span, Math.min(whole * 1.1 - span * 0.5, newStart));
    draw();
  };
  const zoom = (factor, around) => look(around - (around - start) / factor, span / factor);
  const micros = (event) => start + (event.clientX - canvas.getBoundingClientRect().left - LEFT) / (width - LEFT) * span;

  const found = (event) => {
    const place = canvas.getBoundingClientRect();
    const row = data.rows[Math.floor((event.clientY - place.top) / rowHeight)];
    if (!row || event.clientX - place.left < LEFT) return -1;
    const at = micros(event), reach = 2 * span / (width - LEFT);
    let best = -1;
    for (let one = first(began, row.from, row.to, at - row.longest - reach); one < row.to && began[one] <= at + reach; one++) {
      // The innermost is the one that begins last.
      if (began[one] + lasted[one] >= at - reach) best = one;
    }
    return best;
  };
  const tell = (event) => {
    const one = found(event);
    tip.hidden = one < 0;
    if (one < 0) return;
    const rows = [["ran", human(lasted[one])], ["queued", human(queue[one])], ["dispatch", human(dispatch[one])],
      ["CPU", human(cpu[one])], ["GIL held", human(held[one])], ["transfer", human(transfer[one])],
      ["began at", human(began[one])], ["came to", ENDINGS[ending[one]]]];
    const title = document.createElement("b"), table = document.createElement("table");
    title.textContent = data.names[name[one]] + (index[one] >= 0 ? ", item " + index[one] : "");
    for (const [what, figure] of rows) {
      const line = table.insertRow(), head = document.createElement("th");
      head.textContent = what;
      line.append(head);
      line.insertCell().textContent = figure;
    }
    tip.replaceChildren(title, table);
    const place = document.getElementById("timeline").getBoundingClientRect();
    const left = event.clientX - place.left + 14, top = event.clientY - place.top + 14;
    tip.style.left = Math.max(4, left + tip.offsetWidth > place.width ? left - tip.offsetWidth - 28 : left) + "px";
    tip.style.top = Math.max(4, top + tip.offsetHeight > place.height ? top - tip.offsetHeight - 28 : top) + "px";
  };

  let grip = null;
  for (const target of [canvas, axis]) {
    target.addEventListener("pointerdown", (event) => {
      grip = { at: event.clientX, start, moved: false };
      target.setPointerCapture(event.pointerId);
      target.classList.add("moving");
    });
    target.addEventListener("pointermove", (event) => {
      if (!grip) return target === canvas ? tell(event) : undefined;
      grip.moved ||= Math.abs(event.clientX - grip.at) > 3;
      tip.hidden = true;
      look(grip.start - (event.clientX - grip.at) / (width - LEFT) * span, span);
    });
    for (const end of ["pointerup", "pointercancel"]) target.addEventListener(end, (event) => {
      const click = grip && !grip.moved;
      grip = null;
      target.classList.remove("moving");
      if (!click || target !== axis || end !== "pointerup") return;
      const at = micros(event), lane = Math.floor((event.clientY - axis.getBoundingClientRect().top - TICKS) / BAND);
      const one = data.jobs.find((one) => one.lane === lane && one.began <= at && at <= one.ended);
      if (one) look(one.began - (one.ended - one.began) * 0.02, (one.ended - one.began) * 1.04);
    });
    target.addEventListener("wheel", (event) => {
      if (event.ctrlKey || event.metaKey) zoom(Math.exp(-event.deltaY / 300), micros(event));
      else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        look(start + (event.deltaX || event.deltaY) / width * span, span);
      } else return;
      event.preventDefault();
    }, { passive: false });
    target.addEventListener("dblclick", (event) => zoom(event.shiftKey ? 1 / 3 : 3, micros(event)));
  }
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => zoom(+button.dataset.zoom, start + span / 2));
  }
  const fit = () => look(-whole * 0.005, whole * 1.01);
  document.getElementById("fit").addEventListener("click", fit);
  for (const row of document.querySelectorAll("tr[data-at]")) {
    const show = () => {
      look(+row.dataset.at - row.dataset.for, 3 * row.dataset.for);
      document.getElementById("timeline").scrollIntoView({ behavior: "smooth", block: "center" });
    };
    row.addEventListener("click", show);
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") show(); });
  }
  const root = document.documentElement;
  if (["#dark", "#light"].includes(location.hash)) root.dataset.theme = location.hash.slice(1);
  const repaint = () => { paint(); draw(); };
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = ink.dark ? "light" : "dark";
    repaint();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  new ResizeObserver(draw).observe(box);
  repaint();
  root.dataset.drawn = String(began.length);
})();
