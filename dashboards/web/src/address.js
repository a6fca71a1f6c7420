// What the address says before anything is drawn.
const HOURS_AHEAD = { burndown: 12 };
const ALL = ".*"; // what All is in every drop-down, and so in a link from a board

export function completeAddress(name) {
  const parameters = new URLSearchParams(window.location.search);
  for (const [key, value] of [...parameters]) if (value === ALL) parameters.delete(key);
  // Perses has no time that ends later than now; a forecast does.
  const span = (HOURS_AHEAD[name] ?? 0) * 3_600_000;
  if (span && !parameters.has("start")) {
    parameters.set("start", Date.now() - span);
    parameters.set("end", Date.now() + span);
  }
  window.history.replaceState(null, "", `${window.location.pathname}?${parameters}`);
}
