// Perses' table of today: its plug-in that fits the page's Perses knows neither colours nor links of
// a column, which the dashboards have (columnSettings.cellSettings and .dataLink).
import { useMemo, useState } from "react";
import { Link, useTheme } from "@mui/material";
import { Table } from "@perses-dev/components";
import { formatValue, useTransformData } from "@perses-dev/core";

// Pixels of a column.
const READABLE = 85;

// One row for each series: its labels and its number, with the query's index where there are many.
function rowsOf(queryResults) {
  const single = queryResults.length === 1;
  const named = (name, index) => (single ? name : `${name} #${index + 1}`);
  return queryResults.flatMap(({ data }, index) =>
    data.series.map(({ labels = {}, values }) => ({
      ...Object.fromEntries(Object.entries(labels).map(([key, text]) => [named(key, index), text])),
      timestamp: values[0]?.[0],
      [named("value", index)]: values[0]?.[1],
    })),
  );
}

const holds = ({ kind, spec }, value) => {
  if (kind === "Regex") return new RegExp(spec.expr).test(String(value));
  return value >= (spec.min ?? -Infinity) && value <= (spec.max ?? Infinity);
};

// A share is a bar on a scale to 100 %, what is above fills it; anything else has its ground coloured.
function Colored({ setting, value, share, children }) {
  const color = setting.backgroundColor;
  const style = share
    ? {
        background: `linear-gradient(to right, ${color}66 ${Math.min(value, 1) * 100}%, transparent 0)`,
        borderLeft: `3px solid ${color}`,
      }
    : { background: `${color}33`, borderLeft: `3px solid ${color}` };
  return <span style={{ ...style, display: "block", padding: "0 6px" }}>{children}</span>;
}

const AS_IT_SHOULD_BE = { backgroundColor: "#1f77b4" };

// The dashboards' names end like their pages: those of a Perses all begin with the project's.
const address = (url, row) =>
  url
    .replace(/\$\{__data\.fields\["([^"]+)"\]\}/g, (_, name) => encodeURIComponent(row[name] ?? ""))
    .replace(/^otel-budget-/, "/")
    .replace(/^(?!\/|https?:)/, "/");

function cell({ format, cellSettings = [], dataLink }, { value, row }) {
  let shown = typeof value === "number" && format ? formatValue(value, format) : value;
  if (shown === undefined || shown === "") return "";
  if (dataLink) {
    const target = dataLink.openNewTab ? "_blank" : undefined;
    shown = (
      <Link href={address(dataLink.url, row)} title={dataLink.title} target={target}>
        {shown}
      </Link>
    );
  }
  const share = format?.unit === "percent-decimal" && cellSettings.length > 0;
  const found = cellSettings.find(({ condition }) => holds(condition, value));
  const setting = found ?? (share ? AS_IT_SHOULD_BE : undefined);
  if (!setting) return shown;
  return (
    <Colored setting={setting} value={value} share={share}>
      {shown}
    </Colored>
  );
}

function TablePanel({ contentDimensions, spec, queryResults }) {
  const theme = useTheme();
  const raw = useMemo(() => rowsOf(queryResults), [queryResults]);
  const data = useTransformData(raw, spec.transforms ?? []);
  const columns = useMemo(() => {
    const known = new Set(data.flatMap(Object.keys));
    return spec.columnSettings
      .filter(({ name, hide }) => !hide && known.has(name))
      .map((column) => ({
        // A dot in an accessor's name would be a path.
        accessorFn: (row) => row[column.name],
        id: column.name,
        accessorKey: column.name,
        header: column.header ?? column.name,
        enableSorting: column.enableSorting,
        align: column.align,
        width: column.width,
        cellDescription: ({ getValue }) => String(getValue() ?? ""),
        cell: ({ getValue, row }) => cell(column, { value: getValue(), row: row.original }),
      }));
  }, [data, spec.columnSettings]);
  const [sorting, setSorting] = useState(
    spec.columnSettings
      .filter(({ sort }) => sort)
      .map(({ name, sort }) => ({ id: name, desc: sort === "desc" })),
  );
  if (!contentDimensions) return null;
  // Where columns would be too narrow to read, the table scrolls.
  const needed = columns.reduce((sum, { width = READABLE }) => sum + width, 0);
  if (data.length === 0) return <p style={{ color: theme.palette.text.secondary }}>None.</p>;
  return (
    <div style={{ overflowX: "auto" }}>
      <Table
        data={data}
        columns={columns}
        height={contentDimensions.height}
        width={Math.max(contentDimensions.width, needed)}
        density={spec.density}
        defaultColumnWidth={spec.defaultColumnWidth}
        sorting={sorting}
        onSortingChange={setSorting}
      />
    </div>
  );
}

export const withColumns = (table) => ({
  ...table,
  Table: { ...table.Table, PanelComponent: TablePanel, queryOptions: { mode: "instant" } },
});
