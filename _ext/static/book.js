// Small repairs and services for every page.
(() => {
  // What is wider than the screen scrolls inside itself, and the keyboard reaches it.
  function reach() {
    document.querySelectorAll("div.math, mjx-container[display=true], pre, .pst-scrollable-table-container, .table-wrapper, .cr-scroll").forEach((box) => {
      if (box.scrollWidth > box.clientWidth + 1) {
        box.tabIndex = 0;
        if (!box.hasAttribute("role")) box.setAttribute("role", "group");
        if (!box.hasAttribute("aria-label")) {
          box.setAttribute("aria-label", box.matches("pre") ? "Code" : box.matches("div.math, mjx-container") ? "Formula" : "Table");
        }
      }
    });
  }
  addEventListener("load", () => {
    const ready = window.MathJax?.startup?.promise;
    (ready || Promise.resolve()).then(reach);
    addEventListener("resize", reach);
  });
  document.querySelectorAll(".bd-article table").forEach((table) => {
    if (table.closest(".pst-scrollable-table-container, .cr-scroll")) return;
    const box = document.createElement("div");
    box.className = "cr-scroll";
    table.replaceWith(box);
    box.append(table);
  });
})();
