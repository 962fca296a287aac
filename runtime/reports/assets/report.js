const grid = document.querySelector(".grid");
const keys = [...document.querySelectorAll(".keys button")];
let current = "name", rising = true;

function sort(key) {
  // The first press of a figure shows the worst pictures: large MSE, small PSNR and SSIM. A second press turns it round.
  rising = key === current ? !rising : key !== "mse";
  current = key;
  const sign = rising ? 1 : -1;
  const cards = [...grid.children];
  cards.sort((a, b) => {
    if (key === "name") return sign * a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true });
    const x = a.dataset[key], y = b.dataset[key];
    if (x === "" || y === "") return (x === "") - (y === "");
    return sign * (Number(x) - Number(y));
  });
  grid.append(...cards);
  for (const button of keys) {
    const active = button.dataset.key === key;
    button.setAttribute("aria-pressed", active);
    button.textContent = button.dataset.label + (active ? (rising ? " ↑" : " ↓") : "");
  }
}

for (const button of keys) button.addEventListener("click", () => sort(button.dataset.key));

const size = document.querySelector("#size");
size?.addEventListener("input", () => document.documentElement.style.setProperty("--side", size.value + "px"));

const dialog = document.querySelector("dialog");
grid?.addEventListener("click", (event) => {
  const pair = event.target.closest(".pair");
  if (!pair) return;
  const images = pair.cloneNode(true);
  images.addEventListener("click", () => dialog.close());
  const line = document.createElement("p");
  line.textContent = [...pair.parentElement.querySelector("figcaption").children].map((part) => part.textContent).join("   ");
  dialog.replaceChildren(images, line);
  dialog.showModal();
});
dialog?.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
