// The moving figure of the front page: threads through u = g(x) and y = f(u), stretched by the two slopes.
(() => {
  const figure = document.querySelector(".chain-figure");
  if (!figure) return;
  const g = (x) => Math.sin(1.5 * x) + 0.5 * x;
  const gSlope = (x) => 1.5 * Math.cos(1.5 * x) + 0.5;
  const f = (u) => Math.tanh(1.2 * u);
  const fSlope = (u) => 1.2 / Math.cosh(1.2 * u) ** 2;
  const [width, top, middle, bottom, margin] = [640, 34, 146, 258, 24];
  const at = (value, half) => margin + ((value + half) / (2 * half)) * (width - 2 * margin);
  const points = (x) => [[at(x, 2), top], [at(g(x), 2), middle], [at(f(g(x)), 1.1), bottom]];
  const thread = (x) => "M" + points(x).map(([a, b]) => `${a.toFixed(1)} ${b}`).join("L");
  const reach = Number(figure.dataset.reach);
  const threads = figure.querySelectorAll(".chain-bundle path");
  const dots = figure.querySelectorAll(".chain-dot");
  const slider = figure.querySelector("input");
  const button = figure.querySelector("button");
  const say = (name, value) => {
    figure.querySelector(`[data-slope=${name}]`).textContent = value.toFixed(2).replace(/^-0\.00$/, "0.00").replace("-", "\u2212");
  };

  function draw(x) {
    threads.forEach((path, i) => path.setAttribute("d", thread(x + reach * ((2 * i) / (threads.length - 1) - 1))));
    points(x).forEach(([a], i) => dots[i].setAttribute("cx", a.toFixed(1)));
    say("g", gSlope(x));
    say("f", fSlope(g(x)));
    say("both", gSlope(x) * fSlope(g(x)));
    say("measured", (f(g(x + 1e-4)) - f(g(x - 1e-4))) / 2e-4);
  }

  let playing = false;
  let near = true;
  let phase = Math.asin(Number(slider.value) / 1.75);
  let last = 0;
  function step(now) {
    if (!playing) return;
    if (near && !document.hidden) {
      phase += Math.min(now - last, 50) * 0.00045;
      slider.value = 1.75 * Math.sin(phase);
      draw(Number(slider.value));
    }
    last = now;
    requestAnimationFrame(step);
  }
  function play(on) {
    playing = on;
    button.textContent = on ? "Pause" : "Play";
    if (on) {
      phase = Math.asin(Math.max(-1, Math.min(1, Number(slider.value) / 1.75)));
      last = performance.now();
      requestAnimationFrame(step);
    }
  }

  button.hidden = false;
  button.addEventListener("click", () => play(!playing));
  slider.addEventListener("input", () => { play(false); draw(Number(slider.value)); });
  new IntersectionObserver(([entry]) => { near = entry.isIntersecting; }).observe(figure);
  play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
})();
