// Jaeger's API, through the page's server, as Perses' trace panels want it: the query plug-in.

// The newest traces that are asked for, of each service.
export const NEWEST = 100;

async function ask(path, parameters = {}) {
  const answer = await fetch(`/jaeger${path}?${new URLSearchParams(parameters)}`);
  if (!answer.ok) throw new Error(`Jaeger answers ${answer.status} to ${path}`);
  return answer.json();
}

export const services = async () => ((await ask("/api/services")).data ?? []).toSorted();

const tagsOf = (span) => Object.fromEntries(span.tags.map(({ key, value }) => [key, String(value)]));

/** A refusal, soft limit or failure in a few words: decision, resource and window; "" for the rest. */
function hit(has, attributes) {
  const decision = has[attributes.decision];
  if (!attributes.hits.includes(decision)) return "";
  const window = has[attributes.window];
  return [decision, has[attributes.resource], window && `(${window})`].filter(Boolean).join(" ");
}

/** What a trace's row says beside its name: tenants, and each kind of hit. */
function summary(spans, attributes) {
  const all = spans.map(tagsOf);
  const tenants = new Set(all.map((has) => has[attributes.tenant]).filter(Boolean));
  const counts = new Map();
  for (const text of all.map((has) => hit(has, attributes)).filter(Boolean))
    counts.set(text, (counts.get(text) ?? 0) + 1);
  const hits = [...counts].map(([text, count]) => (count > 1 ? `${text} × ${count}` : text));
  return [...tenants, ...hits];
}

function row({ traceID, spans, processes }, attributes) {
  const known = new Set(spans.map(({ spanID }) => spanID));
  const isRoot = ({ references }) => !references.some(({ spanID }) => known.has(spanID));
  const byStart = spans.toSorted((a, b) => a.startTime - b.startTime);
  const root = byStart.find(isRoot) ?? byStart[0];
  const serviceStats = {};
  for (const span of spans) {
    const stats = (serviceStats[processes[span.processID].serviceName] ??= { spanCount: 0 });
    stats.spanCount += 1;
    if (tagsOf(span).error === "true") stats.errorCount = (stats.errorCount ?? 0) + 1;
  }
  const end = Math.max(...spans.map(({ startTime, duration }) => startTime + duration));
  return {
    traceId: traceID,
    rootServiceName: processes[root.processID].serviceName,
    rootTraceName: [root.operationName, ...summary(byStart, attributes)].join(" · "),
    startTimeUnixMs: byStart[0].startTime / 1000,
    durationMs: (end - byStart[0].startTime) / 1000,
    serviceStats,
  };
}

async function search({ service, tags, attributes }, { start, end }) {
  const parameters = {
    limit: NEWEST,
    lookback: "custom",
    start: start.getTime() * 1000,
    end: end.getTime() * 1000,
    tags: JSON.stringify(tags),
  };
  const asked = service ? [service] : await services();
  const found = new Map();
  for (const { data } of await Promise.all(
    asked.map((name) => ask("/api/traces", { ...parameters, service: name })),
  ))
    for (const trace of data ?? []) found.set(trace.traceID, trace);
  // Jaeger may have found each tag on a span of its own.
  const fits = (span) => {
    const has = tagsOf(span);
    return Object.entries(tags).every(([name, value]) => has[name] === value);
  };
  return [...found.values()]
    .filter(({ spans }) => spans.some(fits))
    .map((trace) => row(trace, attributes));
}

// Perses shows strings, whole numbers and booleans, and calls everything else unknown.
const readable = (attributes = []) =>
  attributes.map(({ key, value }) =>
    "doubleValue" in value ? { key, value: { stringValue: String(value.doubleValue) } } : { key, value },
  );

/** A trace as OTLP, as Perses shows it; what was decided stands beside a span's name. */
export async function trace(id, attributes) {
  const { result } = await ask(`/api/v3/traces/${encodeURIComponent(id)}`);
  for (const { scopeSpans } of result.resourceSpans)
    for (const { spans } of scopeSpans)
      for (const span of spans) {
        span.attributes = readable(span.attributes);
        for (const event of span.events ?? []) event.attributes = readable(event.attributes);
        const has = Object.fromEntries(
          span.attributes.map(({ key, value }) => [key, value.stringValue]),
        );
        span.name = [span.name, hit(has, attributes)].filter(Boolean).join(" · ");
      }
  return result;
}

export const getPluginModule = () => ({
  kind: "PluginModule",
  metadata: { name: "Jaeger", version: "0.0.0" },
  spec: {
    plugins: [{ kind: "TraceQuery", spec: { name: "JaegerTraceQuery", display: { name: "Jaeger" } } }],
  },
});

export const JaegerTraceQuery = {
  createInitialOptions: () => ({}),
  getTraceData: async (spec, { absoluteTimeRange }) =>
    spec.trace
      ? { trace: await trace(spec.trace, spec.attributes) }
      : { searchResult: await search(spec, absoluteTimeRange) },
};
