// The page reads well without any of this: theme and code switches, where you are, thumbnails, large figures.
const root = document.documentElement;
const all = (selector) => [...document.querySelectorAll(selector)];
const stored = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
const store = (name, value) => { try { localStorage.setItem(name, value); } catch { /* a page from a file may not */ } };

if (stored("theme")) root.dataset.theme = stored("theme");
document.querySelector(".tools").hidden = false;
document.querySelector("#theme").onclick = () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  store("theme", (root.dataset.theme = dark ? "light" : "dark"));
};
document.querySelector("#code").onclick = (event) => {
  const open = event.target.getAttribute("aria-pressed") !== "true";
  event.target.setAttribute("aria-pressed", open);
  event.target.textContent = open ? "Hide code" : "Show code";
  all("details.code").forEach((details) => { details.open = open; });
};

const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
const targets = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
const follow = () => {
  const here = targets.filter((target) => target.getBoundingClientRect().top < innerHeight / 3).pop() ?? targets[0];
  links.forEach((link, id) => link.classList.toggle("here", id === here.id));
  all("nav li").forEach((item) => item.classList.toggle("open", item.contains(links.get(here.id))));
};
addEventListener("scroll", () => requestAnimationFrame(follow), { passive: true });
follow();

const gallery = document.querySelector(".gallery");
for (const image of all("article figure img")) {
  const link = Object.assign(document.createElement("a"), { href: `#${image.closest("figure").id}`, title: image.alt });
  link.append(Object.assign(new Image(), { src: image.src, alt: "" }));
  gallery.append(link);
}
gallery.parentElement.hidden = !gallery.children.length;

const dialog = document.querySelector("dialog");
dialog.onclick = () => dialog.close();
document.addEventListener("click", (event) => {
  if (!event.target.matches("figure img")) return;
  dialog.replaceChildren(Object.assign(new Image(), { src: event.target.src, alt: event.target.alt }));
  dialog.showModal();
});
