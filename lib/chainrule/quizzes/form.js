// One listener serves all questions of a page, those that come later too.
(function () {
  if (window.chainruleQuiz) return;
  window.chainruleQuiz = true;
  function number(text) {
    var parts = text.trim().replace(",", ".").replace("\u2212", "-").split("/");
    if (parts.length > 2 || parts.some(function (part) { return !part.trim(); })) return NaN;
    return parts.length === 2 ? Number(parts[0]) / Number(parts[1]) : Number(parts[0]);
  }
  function key(question) {
    var chosen = question.querySelector("input[type=radio]:checked");
    var field = question.querySelector("input[type=text]");
    if (!field) return chosen ? chosen.value : "empty";
    var value = number(field.value);
    if (!isFinite(value)) return "empty";
    var known = Array.from(question.querySelectorAll("[data-value]")).find(function (reply) {
      return Math.abs(value - reply.dataset.value) <= Number(reply.dataset.tolerance) + 1e-9;
    });
    return known ? known.dataset.key : "otherwise";
  }
  function check(question) {
    var reply = question.querySelector('[data-key="' + key(question) + '"]').cloneNode(true);
    var say = question.querySelector(".cr-say");
    say.dataset.right = reply.dataset.right;
    say.replaceChildren.apply(say, Array.from(reply.childNodes));
  }
  document.addEventListener("click", function (event) {
    var button = event.target.closest && event.target.closest(".cr-submit");
    if (button) check(button.closest(".cr-question"));
  });
  document.addEventListener("keydown", function (event) {
    if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
    var question = event.target.closest(".cr-question");
    if (question) { event.preventDefault(); check(question); }
  });
})();
