const compares = [...document.querySelectorAll(".compare")];

function cut(compare, value) {
  compare.style.setProperty("--cut", value + "%");
}

for (const compare of compares) {
  const slider = compare.querySelector("input");
  slider.addEventListener("input", () => cut(compare, slider.value));
  compare.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" && !event.buttons) return;
    const box = compare.getBoundingClientRect();
    slider.value = Math.round(((event.clientX - box.left) / box.width) * 100);
    cut(compare, slider.value);
  });
}

document.querySelector("#all")?.addEventListener("input", (event) => {
  for (const compare of compares) {
    compare.querySelector("input").value = event.target.value;
    cut(compare, event.target.value);
  }
});

document.querySelector("#size")?.addEventListener("input", (event) => {
  document.documentElement.style.setProperty("--side", event.target.value + "px");
});
document.documentElement.style.setProperty("--side", "320px");
