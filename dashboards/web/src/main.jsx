// Draws one of dashboards/perses/*.json with Perses' own components, asking Prometheus through the page's server.
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { BrowserRouter } from "react-router-dom";
import { QueryParamProvider } from "use-query-params";
import { ReactRouter6Adapter } from "use-query-params/adapters/react-router-6";
import { CssBaseline, ThemeProvider } from "@mui/material";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import {
  ChartsProvider,
  SnackbarProvider,
  generateChartsTheme,
  getTheme,
} from "@perses-dev/components";
import {
  PluginRegistry,
  ReactRouterProvider,
  dynamicImportPluginLoader,
} from "@perses-dev/plugin-system";
import { ViewDashboard } from "@perses-dev/dashboards";
import { Traces, tracePlugins } from "./traces.jsx";
import * as barChart from "@perses-dev/bar-chart-plugin";
import * as datasourceVariable from "@perses-dev/datasource-variable-plugin";
import * as gaugeChart from "@perses-dev/gauge-chart-plugin";
import * as heatmapChart from "@perses-dev/heatmap-chart-plugin";
import * as histogramChart from "@perses-dev/histogram-chart-plugin";
import * as markdown from "@perses-dev/markdown-plugin";
import * as pieChart from "@perses-dev/pie-chart-plugin";
import * as prometheus from "@perses-dev/prometheus-plugin";
import * as statChart from "@perses-dev/stat-chart-plugin";
import * as staticListVariable from "@perses-dev/static-list-variable-plugin";
import * as statusHistoryChart from "@perses-dev/status-history-chart-plugin";
import * as table from "@perses-dev/table-plugin";
import * as timeSeriesChart from "@perses-dev/timeseries-chart-plugin";
import { completeAddress } from "./address.js";
import { fitted } from "./narrow.js";
import { withNames } from "./patterns.js";
import { withColumns } from "./table.jsx";
import "./board.css";

// What shows one number is asked for one number, as Grafana asks it; Perses would ask for all the
// numbers of the selected time and show the last, at many times the price.
const asksInstant = (plugin, name) => ({
  ...plugin,
  [name]: { ...plugin[name], queryOptions: { mode: "instant" } },
});
const plugins = [
  ...tracePlugins,
  asksInstant(barChart, "BarChart"),
  datasourceVariable,
  gaugeChart,
  heatmapChart,
  histogramChart,
  markdown,
  pieChart,
  withNames(prometheus),
  asksInstant(statChart, "StatChart"),
  staticListVariable,
  statusHistoryChart,
  withColumns(table),
  timeSeriesChart,
];
const pluginLoader = dynamicImportPluginLoader(
  plugins.map((plugin) => ({
    resource: plugin.getPluginModule(),
    importPlugin: async () => plugin,
  })),
);
const theme = getTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
const chartsTheme = generateChartsTheme(theme, {});
const queryClient = new QueryClient({
  defaultOptions: { queries: { retry: 0, refetchOnWindowFocus: false } },
});

function datasourceApi() {
  const url = `${window.location.origin}/prometheus`;
  const datasource = {
    kind: "GlobalDatasource",
    metadata: { name: "prometheus" },
    spec: {
      default: true,
      plugin: { kind: "PrometheusDatasource", spec: { directUrl: url, scrapeInterval: "1m" } },
    },
  };
  return {
    buildProxyUrl: () => url,
    getDatasource: async () => undefined,
    getGlobalDatasource: async () => datasource,
    listDatasources: async () => [],
    listGlobalDatasources: async () => [datasource],
  };
}

function Navigation({ dashboards, current }) {
  return (
    <nav style={{ padding: "8px 16px", display: "flex", flexWrap: "wrap", gap: 16 }}>
      {dashboards.map(({ name, title }) => (
        <a key={name} href={`/${name}`} aria-current={name === current ? "page" : undefined}
          style={{ color: theme.palette.primary.main, fontWeight: name === current ? 700 : 400 }}>
          {title}
        </a>
      ))}
    </nav>
  );
}

function Page() {
  const [state, setState] = useState(null);
  const [problem, setProblem] = useState("");
  const name = window.location.pathname.slice(1) || "overview";
  useEffect(() => {
    const load = async (path) => {
      const answer = await fetch(path);
      if (!answer.ok) throw new Error(`${path} answers ${answer.status}`);
      return answer.json();
    };
    const board = name === "traces" ? null : load(`/dashboards/${name}.json`);
    Promise.all([load("/config.json"), board])
      .then(([config, dashboard]) => setState({ config, dashboard }))
      .catch((error) => setProblem(String(error)));
  }, [name]);
  if (problem) return <p role="alert">{problem}</p>;
  if (!state) return null;
  const { config, dashboard } = state;
  const title = dashboard?.spec.display.name ?? "Traces";
  document.title = title;
  const navigation = <Navigation dashboards={config.dashboards} current={name} />;
  if (!dashboard)
    return (
      <>
        {navigation}
        <Traces attributes={config.attributes} datasourceApi={datasourceApi()} />
      </>
    );
  return (
    <>
      {navigation}
      <ViewDashboard
        dashboardResource={fitted(dashboard)}
        datasourceApi={datasourceApi()}
        dashboardTitleComponent={<h2 style={{ margin: 0, fontSize: 20 }}>{title}</h2>}
        isReadonly
        isVariableEnabled
        isDatasourceEnabled={false}
      />
    </>
  );
}

completeAddress(window.location.pathname.slice(1));
createRoot(document.getElementById("root")).render(
  <BrowserRouter>
    <QueryParamProvider adapter={ReactRouter6Adapter}>
      <ThemeProvider theme={theme}>
        <CssBaseline />
        <ChartsProvider chartsTheme={chartsTheme}>
          <SnackbarProvider>
            <PluginRegistry
              pluginLoader={pluginLoader}
              defaultPluginKinds={{
                Panel: "TimeSeriesChart",
                TimeSeriesQuery: "PrometheusTimeSeriesQuery",
              }}
            >
              <QueryClientProvider client={queryClient}>
                <ReactRouterProvider>
                  <Page />
                </ReactRouterProvider>
              </QueryClientProvider>
            </PluginRegistry>
          </SnackbarProvider>
        </ChartsProvider>
      </ThemeProvider>
    </QueryParamProvider>
  </BrowserRouter>,
);
