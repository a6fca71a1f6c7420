// On a telephone a legend beside a chart leaves no chart.
const NARROW = 700;

export const isNarrow = () => window.innerWidth < NARROW;

export function fitted(dashboard) {
  if (!isNarrow()) return dashboard;
  const copy = structuredClone(dashboard);
  for (const { spec } of Object.values(copy.spec.panels)) {
    if (spec.plugin.spec.legend) spec.plugin.spec.legend.position = "bottom";
  }
  return copy;
}
