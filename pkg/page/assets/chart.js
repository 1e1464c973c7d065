const width = 720, height = 260, left = 48, right = 10, top = 10, bottom = 26;

function node(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// ticks are about four round numbers between two others.
function ticks(from, to) {
  const raw = (to - from) / 4, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((m) => m * power >= raw) * power;
  const list = [];
  for (let v = Math.ceil(from / step) * step; v <= to + step / 1e6; v += step) list.push(Number(v.toPrecision(6)));
  return list;
}

// chart draws losses over steps: train is a line, evals are points. Each is a list of [step, loss].
export function chart(label, train, evals, total) {
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": label });
  const finite = (list) => list.filter(([, loss]) => Number.isFinite(loss));
  train = finite(train);
  evals = finite(evals);
  const losses = [...train, ...evals].map(([, loss]) => loss);
  if (losses.length === 0) return svg;
  const low = losses.reduce((a, b) => Math.min(a, b)), high = losses.reduce((a, b) => Math.max(a, b)), room = (high - low || 1) * 0.06;
  const bottomLoss = low - room, topLoss = high + room, last = [...train, ...evals].reduce((most, [step]) => Math.max(most, step), total || 1);
  const x = (step) => left + (width - left - right) * step / last;
  const y = (loss) => top + (height - top - bottom) * (topLoss - loss) / (topLoss - bottomLoss);
  for (const loss of ticks(bottomLoss, topLoss)) {
    svg.append(node("line", { class: "axis", x1: left, x2: width - right, y1: y(loss), y2: y(loss) }),
      node("text", { x: left - 6, y: y(loss) + 4, "text-anchor": "end" }, String(loss)));
  }
  for (const step of ticks(0, last).filter(Number.isInteger)) {
    svg.append(node("text", { x: x(step), y: height - 8, "text-anchor": "middle" }, String(step)));
  }
  const points = (list) => list.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" ");
  svg.append(node("polyline", { class: "train", points: points(train) }), node("polyline", { class: "evals", points: points(evals) }));
  for (const [step, loss] of evals) svg.append(node("circle", { cx: x(step), cy: y(loss), r: 3.5 }));
  return svg;
}
