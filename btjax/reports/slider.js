const gallery = document.querySelector(".gallery");
const strength = document.getElementById("strength"), shown = document.getElementById("shown");
strength.addEventListener("input", () => gallery.style.setProperty("--strength", strength.value / 100));
shown?.addEventListener("change", () => {
  for (const map of gallery.querySelectorAll(".map")) map.hidden = map.dataset.map !== shown.value;
});
