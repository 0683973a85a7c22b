// Widgets without a kernel: their scripts are heavy, so they are loaded when the first widget comes near the screen.
(() => {
  const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
  const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';
  const views = document.querySelectorAll(VIEW);
  if (!views.length || !document.querySelector(STATE)) return;
  const here = new URL("vendor/widgets/", document.currentScript.src).href;

  function load(name) {
    return new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = here + name;
      script.onload = done;
      script.onerror = () => failed(new Error(`${script.src} did not load`));
      // Should a widget of another package be asked for, it is looked for here and nowhere else.
      script.setAttribute("data-jupyter-widgets-cdn", here);
      document.head.append(script);
    });
  }

  // The widgets speak to MathJax 2; the site has MathJax 3.
  function speakToMathJax() {
    const mathjax = (window.MathJax = window.MathJax || {});
    mathjax.Hub = mathjax.Hub || {
      Queue: ([, , element]) => mathjax.typesetPromise && mathjax.typesetPromise(element ? [element] : undefined),
    };
  }

  let started = false;
  async function start() {
    if (started) return;
    started = true;
    speakToMathJax();
    window.__jupyter_widgets_assets_path__ = here;
    await load("require.js");
    window.requirejs.config({ baseUrl: here });
    await load("embed-amd.js");
  }

  // A view's script takes no room; its parent is watched, which keeps the room that the style sheet gives it.
  const seen = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      seen.disconnect();
      if (document.readyState === "complete") start();
      else addEventListener("load", start);
    },
    { rootMargin: "800px 0px" },
  );
  views.forEach((view) => {
    view.parentElement.classList.add("widget-place");
    seen.observe(view.parentElement);
  });
  addEventListener("beforeprint", start);

  // What the widgets leave unsaid to assistive technology.
  function name(root) {
    root.querySelectorAll(".widget-hslider, .widget-vslider, .jupyter-widgets.widget-slider").forEach((slider) => {
      const label = slider.querySelector(".widget-label")?.textContent.trim() || "value";
      const readout = slider.querySelector(".widget-readout")?.textContent.trim();
      slider.querySelectorAll(".noUi-handle").forEach((handle) => {
        if (handle.getAttribute("aria-label") !== label) handle.setAttribute("aria-label", label);
        if (readout && handle.getAttribute("aria-valuetext") !== readout) handle.setAttribute("aria-valuetext", readout);
      });
      slider.querySelectorAll("[contenteditable]").forEach((field) => {
        if (!field.hasAttribute("aria-label")) {
          field.setAttribute("role", "textbox");
          field.setAttribute("aria-label", `${label}, value`);
        }
      });
    });
    root.querySelectorAll(".widget-play button, .jupyter-widgets button").forEach((button) => {
      if (!button.getAttribute("aria-label") && !button.textContent.trim()) {
        button.setAttribute("aria-label", button.title || button.getAttribute("data-tooltip") || "button");
      }
    });
    root.querySelectorAll(".jupyter-widgets label, .widget-label").forEach((label) => {
      if (label.htmlFor && !document.getElementById(label.htmlFor)) label.removeAttribute("for");
    });
  }
  new MutationObserver(() => views.forEach((view) => name(view.parentElement || document)))
    .observe(document.querySelector("#main-content") || document.body, { childList: true, subtree: true, characterData: true });
})();
