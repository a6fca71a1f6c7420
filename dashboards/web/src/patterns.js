// A matcher of Prometheus is a pattern, and a name that somebody chose is not: Perses puts
// "bob+test" into a query as it is, where it means "bobbtest".

const ANYTHING = ".*"; // what All is in every drop-down of ours
const asPattern = (name) =>
  name
    .replace(/[\\^*+?.()|[\]{}]/g, "\\$&")
    // One would end the raw string that holds the pattern, the other be read by Perses' replaceAll.
    .replaceAll("`", "\\x60")
    .replaceAll("$", () => "\\x24");

function escaped(variables) {
  const escape = ({ value, ...rest }) => {
    if (Array.isArray(value)) return { ...rest, value: value.map(asPattern) };
    const isName = typeof value === "string" && value !== ANYTHING;
    return { ...rest, value: isName ? asPattern(value) : value };
  };
  return Object.fromEntries(Object.entries(variables).map(([name, state]) => [name, escape(state)]));
}

// Perses' Prometheus plug-ins, which put what is chosen into queries as names.
export function withNames(prometheus) {
  const { PrometheusTimeSeriesQuery: query, PrometheusLabelValuesVariable: list } = prometheus;
  return {
    ...prometheus,
    PrometheusTimeSeriesQuery: {
      ...query,
      getTimeSeriesData: (spec, context) =>
        query.getTimeSeriesData(spec, {
          ...context,
          variableState: escaped(context.variableState),
        }),
    },
    PrometheusLabelValuesVariable: {
      ...list,
      getVariableOptions: (spec, context) =>
        list.getVariableOptions(spec, { ...context, variables: escaped(context.variables) }),
    },
  };
}
