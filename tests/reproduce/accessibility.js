// What is wrong on this page for who sees badly or not at all: text whose contrast with what lies behind it is below
// 4.5 (large text 3), pictures without alternative text, links, buttons and fields without a name, headings without a
// level, what scrolls and cannot be reached by the keyboard.
(() => {
  const parts = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const linear = (v) => (v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = (rgb) => 0.2126 * linear(rgb[0]) + 0.7152 * linear(rgb[1]) + 0.0722 * linear(rgb[2]);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const [r, g, b, alpha = 1] = parts(getComputedStyle(e).backgroundColor);
      if (alpha > 0.5) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const opacity = (element) => (element ? getComputedStyle(element).opacity * opacity(element.parentElement) : 1);
  const mixed = (over, under, share) => under.map((value, i) => share * over[i] + (1 - share) * value);
  const seen = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const wrong = new Set();

  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim().slice(0, 40), element = walker.currentNode.parentElement;
    if (!text || !seen(element)) continue;
    const style = getComputedStyle(element), size = parseFloat(style.fontSize);
    const under = behind(element), shown = mixed(parts(style.color), under, opacity(element));
    const [light, dark] = [luminance(shown), luminance(under)].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05), large = size >= 24 || (size >= 18.6 && style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5)) wrong.add(`contrast ${contrast.toFixed(2)}: ${text} <${element.className}>`);
  }
  for (const image of document.images) {
    if (!image.hasAttribute("alt")) wrong.add(`alt: ${image.src.slice(0, 60)}`);
  }
  for (const used of document.querySelectorAll("a[href], button, summary, input:not([type=hidden]), select")) {
    const label = [...(used.labels ?? [])].map((one) => one.textContent).join();
    const name = used.getAttribute("aria-label") || used.title || used.placeholder || label || used.textContent.trim();
    if (!name && seen(used)) wrong.add(`name: ${used.outerHTML.slice(0, 80)}`);
  }
  for (const heading of document.querySelectorAll("[role=heading]:not([aria-level])")) {
    wrong.add(`level: ${heading.textContent}`);
  }
  for (const place of document.querySelectorAll("article *")) {
    const scrolls = place.scrollWidth > place.clientWidth && /auto|scroll/.test(getComputedStyle(place).overflowX);
    if (scrolls && place.tabIndex < 0 && seen(place)) wrong.add(`scrolls: ${place.outerHTML.slice(0, 80)}`);
  }
  return [...wrong];
})()
