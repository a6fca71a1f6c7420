// Bundles the page into dist/.
import { build } from "esbuild";

await build({
  entryPoints: ["src/main.jsx"],
  outdir: "dist",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  // Without "browser" and "module" first, two copies of React Query are bundled that share nothing.
  mainFields: ["browser", "module", "main"],
  define: { global: "globalThis", "process.env.NODE_ENV": '"production"' },
  loader: { ".woff": "file", ".woff2": "file" },
  logLevel: "warning",
});
