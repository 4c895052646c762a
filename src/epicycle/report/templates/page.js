// Adds a slider over checkpoints; the page is complete without it.
for (const holder of document.querySelectorAll("[data-slider]")) {
  const data = JSON.parse(holder.querySelector("script[type='application/json']").textContent);
  const space = "http://www.w3.org/2000/svg";
  const make = (parent, name, attributes) => {
    const node = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return parent.appendChild(node);
  };
  holder.classList.remove("needs-script");
  const input = holder.querySelector("input");
  const output = holder.querySelector("output");
  const bars = holder.querySelector("[data-bars]");
  const circles = holder.querySelector("[data-circles]");
  input.max = data.steps.length - 1;
  input.value = input.max;
  const colour = (phase) => `hsl(${Math.round(360 * phase)} 65% 45%)`;

  function drawBars(i) {
    bars.replaceChildren();
    const width = 720, height = 150, n = data.frequency.length, gap = width / (n + 1);
    const svg = make(bars, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "spectrum of W_E" });
    const top = Math.max(...data.spectra.map((s) => Math.max(...s)));
    data.spectra[i].forEach((share, j) => {
      const h = (height - 24) * share / top, key = data.keys.includes(data.frequency[j]);
      make(svg, "rect", { x: gap * (j + 0.6), y: height - 16 - h, width: gap * 0.8, height: h, fill: key ? "#c1121f" : "#1f6f8b" });
      if (key) make(svg, "text", { x: gap * (j + 1), y: height - 4, "text-anchor": "middle", "font-size": 10 }).textContent = data.frequency[j];
    });
  }

  function drawCircles(i) {
    circles.replaceChildren();
    data.keys.forEach((k, c) => {
      const places = data.circles[i][c], last = data.circles[data.steps.length - 1][c];
      const reach = 1.15 * Math.max(...last.flat().map(Math.abs), 1e-9);
      const svg = make(circles, "svg", { viewBox: "-1 -1.12 2 2.12", role: "img", "aria-label": `numbers at frequency ${k}` });
      make(svg, "text", { x: -0.95, y: -0.98, "font-size": 0.13 }).textContent = `k = ${k}`;
      places.forEach(([x, y], number) => {
        const dot = make(svg, "circle", { cx: x / reach, cy: -y / reach, r: 0.028, fill: colour((number * k / data.period) % 1) });
        make(dot, "title", {}).textContent = number;
      });
    });
  }

  function show() {
    const i = Number(input.value);
    output.textContent = `step ${data.steps[i].toLocaleString("en")}, test accuracy ${data.accuracy[i]}`;
    drawBars(i);
    drawCircles(i);
  }
  input.addEventListener("input", show);
  show();
}
