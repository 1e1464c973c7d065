// The library is no module; index.html loads it first.
const { uPlot } = globalThis;

const height = 260;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// lossChart draws losses over steps: of the training as a line, of evaluations as points that are joined. words names the
// chart, the steps and both losses. element is for the page; draw takes two Maps of step to loss and the number of steps.
export function lossChart(words) {
  const element = document.createElement("div");
  element.className = "chart";
  element.setAttribute("role", "img");
  let plot = null, last = 1;

  const axis = (more) => ({ stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false }, ...more });
  const line = (label, name, more) => ({ label, stroke: () => colour(name), spanGaps: true, value: (_, loss) => loss?.toFixed(3) ?? "–", ...more });
  const options = () => ({
    width: element.clientWidth || 720, height,
    scales: { x: { time: false, range: () => [0, last] } },
    axes: [axis({ grid: { show: false } }), axis({ size: 52 })],
    series: [{ label: words.steps },
      line(words.train, "--train-line", { width: 2, points: { show: false } }),
      line(words.evals, "--eval-line", { width: 1.5, points: { show: true, size: 7, fill: () => colour("--eval-line") } })],
  });

  // The canvas follows the width of the page, and its colours.
  const fit = new ResizeObserver(() => plot?.setSize({ width: element.clientWidth, height }));
  const paint = new MutationObserver(() => (element.isConnected ? plot?.redraw() : paint.disconnect()));

  const draw = (train, evals, total) => {
    const steps = [...new Set([...train.keys(), ...evals.keys()])].sort((a, b) => a - b);
    if (steps.length === 0) return;
    const losses = (of) => steps.map((step) => (Number.isFinite(of.get(step)) ? of.get(step) : null));
    last = Math.max(total || 1, steps[steps.length - 1]);
    const data = [steps, losses(train), losses(evals)];
    if (plot) {
      plot.setData(data);
    } else {
      plot = new uPlot(options(), data, element);
      fit.observe(element);
      paint.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    }
    const count = (list) => list.filter((loss) => loss !== null).length;
    [element.dataset.train, element.dataset.evals] = [count(plot.data[1]), count(plot.data[2])];
    const newest = (list) => list.findLast((loss) => loss !== null)?.toFixed(3) ?? "–";
    element.setAttribute("aria-label", `${words.chart}: ${words.train} ${newest(data[1])}, ${words.evals} ${newest(data[2])}`);
  };
  return { element, draw };
}
