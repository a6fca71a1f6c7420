// Traces of Jaeger: /traces?tenant=...&decision=deny searches, /traces?trace=ID draws one.
import { useEffect, useState } from "react";
import { useSearchParams } from "react-router-dom";
import { Box, Button, MenuItem, TextField } from "@mui/material";
import { ViewDashboard } from "@perses-dev/dashboards";
import * as traceTable from "@perses-dev/trace-table-plugin";
import * as tracingGanttChart from "@perses-dev/tracing-gantt-chart-plugin";
import * as jaeger from "./jaeger.js";
import { NEWEST, services, trace } from "./jaeger.js";
import "./page.css";

export const tracePlugins = [traceTable, tracingGanttChart, jaeger];

const FIELDS = [
  ["service", "Service"],
  ["tenant", "Tenant"],
  ["agent", "Agent"],
  ["principal", "User"],
  ["session", "Session"],
  ["decision", "Decision"],
  ["resource", "Resource"],
];

// What says that a drop-down of a board chooses nothing.
const ALL = new Set([null, "", "$__all", ".*"]);

function board(title, panel, height) {
  return {
    kind: "Dashboard",
    metadata: { name: "traces", project: "otel-budget" },
    spec: {
      display: { name: title },
      duration: "6h",
      variables: [],
      panels: { traces: { kind: "Panel", spec: panel } },
      layouts: [
        {
          kind: "Grid",
          spec: {
            items: [{ x: 0, y: 0, width: 24, height, content: { $ref: "#/spec/panels/traces" } }],
          },
        },
      ],
    },
  };
}

const query = (spec) => [
  { kind: "TraceQuery", spec: { plugin: { kind: "JaegerTraceQuery", spec } } },
];

function searchBoard(chosen, attributes) {
  const tags = Object.fromEntries(
    Object.entries(chosen)
      .filter(([name]) => name !== "service")
      .map(([name, value]) => [attributes[name], value]),
  );
  // The trace opens with the span selected that was searched for.
  const link = `/traces?${new URLSearchParams(chosen)}&trace=\${traceId}`;
  const panel = {
    display: { name: "Traces", description: `The newest ${NEWEST} of each service.` },
    plugin: { kind: "TraceTable", spec: { links: { trace: link } } },
    queries: query({ service: chosen.service, tags, attributes }),
  };
  return board("Traces", panel, 24);
}

function traceBoard(id, attributes, selectedSpanId) {
  const panel = {
    display: { name: id },
    plugin: {
      kind: "TracingGanttChart",
      spec: { selectedSpanId, links: { trace: "/traces?trace=${traceId}" } },
    },
    queries: query({ trace: id, attributes }),
  };
  return board("Trace", panel, 24);
}

/** The first hit with what was searched for, or else the first span with it, or the first hit. */
function firstHit({ resourceSpans }, chosen, attributes) {
  const spans = resourceSpans
    .flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))
    .map(({ spanId, startTimeUnixNano, attributes = [] }) => ({
      spanId,
      start: BigInt(startTimeUnixNano),
      has: Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue])),
    }))
    .toSorted((a, b) => Number(a.start - b.start));
  const decided = ({ has }) => attributes.hits.includes(has[attributes.decision]);
  const wanted = Object.entries(chosen).filter(([name]) => name !== "service");
  const fits = ({ has }) => wanted.every(([name, value]) => has[attributes[name]] === value);
  const found =
    spans.find((span) => fits(span) && decided(span)) ??
    (wanted.length ? spans.find(fits) : undefined) ??
    spans.find(decided);
  return found?.spanId;
}

const servicesOf = ({ resourceSpans }) =>
  new Set(
    resourceSpans.map(
      ({ resource }) => resource.attributes.find(({ key }) => key === "service.name")?.value.stringValue,
    ),
  );

function Search({ chosen, attributes, onSearch }) {
  const [values, setValues] = useState(chosen);
  const [known, setKnown] = useState([]);
  useEffect(() => {
    services().then(setKnown, () => {}); // the panel says what is wrong
  }, []);
  const options = {
    service: [...new Set([...known, ...(chosen.service ? [chosen.service] : [])])],
    decision: attributes.decisions,
  };
  const submit = (event) => {
    event.preventDefault();
    onSearch(values);
  };
  return (
    <Box component="form" onSubmit={submit} sx={{ display: "flex", flexWrap: "wrap", gap: 1, p: 2 }}>
      {FIELDS.map(([name, label]) => (
        <TextField
          key={name}
          name={name}
          label={label}
          size="small"
          select={name in options}
          value={values[name] ?? ""}
          onChange={({ target }) => setValues({ ...values, [name]: target.value })}
          sx={{ width: 170, flexGrow: { xs: 1, sm: 0 } }}
        >
          {name in options &&
            ["", ...options[name]].map((value) => (
              <MenuItem key={value} value={value}>
                {value || "any"}
              </MenuItem>
            ))}
        </TextField>
      ))}
      <Button type="submit" variant="contained">
        Search
      </Button>
    </Box>
  );
}

export function Traces({ attributes, datasourceApi }) {
  const [parameters, setParameters] = useSearchParams();
  const [opened, setOpened] = useState(null);
  const [problem, setProblem] = useState("");
  const id = parameters.get("trace");
  // A board passes its drop-downs on as it has them.
  const given = (name) => parameters.get(name) ?? parameters.get(`var-${name}`);
  const chosen = Object.fromEntries(
    FIELDS.map(([name]) => [name, given(name)]).filter(([, value]) => !ALL.has(value)),
  );
  const key = JSON.stringify([id, chosen]);
  useEffect(() => {
    setProblem("");
    if (!id) return;
    trace(id, attributes)
      .then((loaded) => {
        const selected = firstHit(loaded, chosen, attributes);
        setOpened({ key, selected, oneService: servicesOf(loaded).size === 1 });
      })
      .catch((error) => setProblem(String(error)));
  }, [key]);
  const onSearch = (values) => {
    const kept = parameters.get("start") ? { start: parameters.get("start") } : {};
    setParameters({ ...Object.fromEntries(Object.entries(values).filter(([, v]) => v)), ...kept });
  };
  if (id && opened?.key !== key && !problem) return null;
  const dashboard = id ? traceBoard(id, attributes, opened?.selected) : searchBoard(chosen, attributes);
  const title = dashboard.spec.display.name;
  return (
    <div className={id && opened?.oneService ? "traces one-service" : "traces"}>
      <Search key={key} chosen={chosen} attributes={attributes} onSearch={onSearch} />
      {problem ? (
        <p role="alert">{problem}</p>
      ) : (
        <ViewDashboard
          key={key}
          dashboardResource={dashboard}
          datasourceApi={datasourceApi}
          dashboardTitleComponent={<h2 style={{ margin: 0, fontSize: 20 }}>{title}</h2>}
          isReadonly
          isVariableEnabled={false}
          isDatasourceEnabled={false}
        />
      )}
    </div>
  );
}
