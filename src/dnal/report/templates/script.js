"use strict";
(() => {
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touched = matchMedia("(pointer: coarse)").matches;
  const charts = [...document.querySelectorAll(".chart")];
  // Those buttons only that need nobody else: plotly has one that sends a chart to its makers.
  const options = {
    responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "resetScale2d"]],
  };
  let printing = false;

  const theme = () => themes[dark.matches && !printing ? "dark" : "light"];

  function draw(node) {
    if (node.dataset.drawn) return;
    node.dataset.drawn = "yes";
    const { data, layout } = JSON.parse(node.nextElementSibling.textContent);
    // A finger that moves over a chart scrolls the page.
    Plotly.newPlot(node, data, { ...layout, template: theme(), ...(touched ? { dragmode: false } : {}) }, options);
  }

  function dress() {
    for (const node of charts) if (node.dataset.drawn) Plotly.relayout(node, { template: theme() });
  }

  // Many runs have hundreds of charts: each is drawn when it comes near.
  const near = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
    { rootMargin: "600px" },
  );
  charts.forEach((node) => near.observe(node));
  dark.addEventListener("change", dress);
  addEventListener("beforeprint", () => {
    printing = true;
    charts.forEach(draw);
    dress();
    charts.forEach((node) => Plotly.relayout(node, { width: Math.min(node.clientWidth, 680) }));
  });
  addEventListener("afterprint", () => {
    printing = false;
    dress();
    charts.forEach((node) => Plotly.relayout(node, { width: null, autosize: true }));
  });
})();
