document.addEventListener("input", ({ target }) => {
  if (target.id !== "strength") return;
  for (const one of document.querySelectorAll(".gallery")) one.style.setProperty("--strength", target.value / 100);
});
document.addEventListener("change", ({ target }) => {
  if (target.id !== "shown") return;
  for (const map of document.querySelectorAll(".gallery .map")) map.hidden = map.dataset.map !== target.value;
});
