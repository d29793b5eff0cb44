// Keys: → Space PageDown Enter go on (to what is below, to an output that waits, to what it has folded, and then to the
// next slide), ← PageUp back, Home, End.
const slides = [...document.querySelectorAll(".slides > section > section")];
const waiting = (slide) => [...slide.querySelectorAll(".jp-Cell-outputWrapper.later, .jp-Cell-outputWrapper details:not([open])")];
const isBelow = (edge) => edge > innerHeight - 32; // behind the number of the slide
let at = 0;

function show(number, everything) {
  at = Math.max(0, Math.min(number, slides.length - 1));
  slides.forEach((slide, index) => slide.classList.toggle("now", index === at));
  for (const output of slides[at].querySelectorAll(".jp-Cell-outputWrapper"))
    output.classList.toggle("later", !everything);
  for (const folded of slides[at].querySelectorAll(".jp-Cell-outputWrapper details")) folded.open = everything;
  history.replaceState(null, "", `#${at + 1}`);
  scrollTo(0, 0);
  report();
}

function report() {
  const more = waiting(slides[at]).length ? " · an output waits: →" : goesOn() ? " · goes on below: →" : "";
  document.querySelector(".where").textContent = `${at + 1} of ${slides.length}${more}`;
}

const goesOn = () => isBelow(slides[at].lastElementChild.getBoundingClientRect().bottom);

function forward() {
  const [next] = waiting(slides[at]);
  if (next ? isBelow(next.getBoundingClientRect().top) : goesOn()) return scrollBy(0, 0.8 * innerHeight);
  if (!next) return at + 1 < slides.length && show(at + 1, false);
  if (next.matches("details")) next.open = true;
  next.classList.remove("later");
  next.scrollIntoView({ block: "nearest" });
  report();
}

const keys = {
  ArrowRight: forward, " ": forward, PageDown: forward, Enter: forward,
  ArrowLeft: () => show(at - 1, true), PageUp: () => show(at - 1, true),
  Home: () => show(0, false), End: () => show(slides.length - 1, true),
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("a, button, summary")) return;
  const action = keys[event.key];
  if (action) { event.preventDefault(); action(); }
});
addEventListener("scroll", report);
addEventListener("hashchange", () => show(Number(location.hash.slice(1)) - 1 || 0, false));
document.querySelector(".slides").classList.add("live");
show(Number(location.hash.slice(1)) - 1 || 0, false);
