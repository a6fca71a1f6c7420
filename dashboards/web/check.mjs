// Opens dashboards in Chromium and checks their queries and the answers:
//
//   node check.mjs '{"address": ..., "pictures": ..., "open": [{"name", "file", "choose"?, "follow"?, "narrow"?, "dark"?}]}'
//
// Prints one JSON object per opened dashboard: {name, chosen, problems: [...], asked: n, opened, seen}. A panel
// that never asked, an error, an empty answer and an unfilled variable are problems, each named.
import { readFileSync } from "node:fs";
import puppeteer from "puppeteer-core";

const { address, pictures, chromium, open } = JSON.parse(process.argv[2]);
const PATIENCE = 60_000;
const LATENESS = 15_000;
const WIDTH = 1600;
const NARROW = 420; // a telephone, by night
// Kinds of panels that show one number a series: Grafana asks for that one, too.
const NOW = new Set(["StatChart", "BarChart", "Table"]);
// The line of those beyond the largest: there may be none.
const OTHERS = "{{others}}";
// What the month before cost, of which a history of hours has nothing.
const MONTH_BEFORE = "[62d:1d]";

const escape = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
// A query as the page may send it: every variable matches anything.
const asPattern = (query) =>
  new RegExp("^" + query.trim().split(/\$\w+/).map(escape).join("[\\s\\S]*?") + "$");
// A name as the page puts it into a raw string.
const named = (name) =>
  "`(" + escape(name).replaceAll("`", "\\x60").replaceAll("\\$", () => "\\x24") + ")`";

function expectations(dashboard) {
  const wanted = [];
  for (const panel of Object.values(dashboard.spec.panels)) {
    for (const [index, { spec }] of (panel.spec.queries ?? []).entries()) {
      const { query } = spec.plugin.spec;
      const title = panel.spec.display.name;
      const now = NOW.has(panel.spec.plugin.kind);
      const where = `${title} (query ${index + 1})`;
      const others = spec.plugin.spec.seriesNameFormat === OTHERS || query.includes(MONTH_BEFORE);
      wanted.push({ where, pattern: asPattern(query), query, now, others });
    }
  }
  return wanted;
}

// `before` is what was asked before a value was chosen: queries without that variable stay as
// they were and are not asked again.
async function judge(page, dashboard, seen, before, variable) {
  const problems = [];
  const wanted = expectations(dashboard);
  for (const { where, pattern, query: text, now, others } of wanted) {
    const valid = variable && !text.includes(`$${variable}`) ? [...before, ...seen] : seen;
    const answers = valid.filter(({ query }) => pattern.test(query.trim()));
    if (answers.length === 0) problems.push(`${where}: never asked`);
    // The last answer counts: variables settle in rounds.
    const last = answers.at(-1);
    if (last && last.status !== 200) problems.push(`${where}: answered ${last.status} ${last.error}`);
    else if (last && last.rows === 0 && !others) problems.push(`${where}: empty`);
    // A chart may ask the same of a range.
    if (now && last && answers.every(({ range }) => range))
      problems.push(`${where}: asked for a range although it shows one number`);
  }
  for (const { query } of seen) {
    const left = query.match(/(?<!\\)\$[a-zA-Z_]\w*/);
    if (left) problems.push(`${left[0]} was not filled in: ${query.slice(0, 120)}`);
  }
  const alerts = await page.$$eval('[role="alert"]', (all) => all.map((alert) => alert.textContent));
  for (const text of alerts) if (text.trim()) problems.push(`the page says: ${text.trim()}`);
  return { problems: [...new Set(problems)], asked: wanted.length };
}

async function settle(page, panels) {
  await page.waitForFunction(
    (count) => document.querySelectorAll('[data-testid="panel"]').length >= count,
    { timeout: PATIENCE },
    panels,
  );
  await page.waitForNetworkIdle({ idleTime: 1000, timeout: PATIENCE });
}

// On a slow machine queries come late: wait for what is missing before calling it a problem.
async function judgePatiently(judgement) {
  const deadline = Date.now() + LATENESS;
  for (;;) {
    const judged = await judgement();
    if (judged.problems.length === 0 || Date.now() > deadline) return judged;
    await new Promise((done) => setTimeout(done, 500));
  }
}

// XPath has no escapes: a text with both kinds of quotes is put together of parts.
const quoted = (text) => `concat("", ${text.split('"').map((part) => `"${part}"`).join(`, '"', `)})`;

async function choose(page, title, value) {
  const input = await page.waitForSelector(`::-p-xpath(//label[normalize-space()="${title}"]/..//input)`);
  await input.click();
  const options = await page.waitForSelector('[role="listbox"]', { timeout: PATIENCE });
  const option = await options.waitForSelector(`::-p-xpath(.//*[@role="option"][normalize-space()=${quoted(value)}])`);
  await option.click();
  await page.keyboard.press("Escape");
  await page.mouse.click(5, 5);
}

async function picture(page, path, width) {
  const bottom = await page.$$eval('[data-testid="panel"]', (all) =>
    Math.max(...all.map((panel) => panel.getBoundingClientRect().bottom)),
  );
  await page.setViewport({ width, height: Math.ceil(bottom) + 16 });
  await new Promise((done) => setTimeout(done, 1200)); // charts draw again after a resize
  await page.screenshot({ path });
}

const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"],
});
try {
  for (const { name, file, choose: choice, start = "1h", follow, narrow, dark } of open) {
    const dashboard = JSON.parse(readFileSync(file, "utf8"));
    const page = await browser.newPage();
    const width = narrow ? NARROW : WIDTH;
    await page.setViewport({ width, height: narrow ? 9000 : 4000 });
    const scheme = { name: "prefers-color-scheme", value: narrow || dark ? "dark" : "light" };
    await page.emulateMediaFeatures([scheme]);
    let seen = [];
    let before = [];
    page.on("response", async (response) => {
      const request = response.request();
      if (!/\/api\/v1\/query/.test(request.url()) || request.method() !== "POST") return;
      const query = new URLSearchParams(request.postData()).get("query") ?? "";
      const range = request.url().includes("/query_range");
      const entry = { query, range, status: response.status(), rows: 0, error: "" };
      seen.push(entry);
      const body = await response.json().catch(() => ({}));
      entry.rows = body.data?.result?.length ?? 0;
      entry.error = body.error ?? "";
    });
    const problems = [];
    let asked = 0;
    try {
      await page.goto(`${address}${name}${start && `?start=${start}`}`, { timeout: PATIENCE });
      const panels = Object.keys(dashboard.spec.panels).length;
      if (follow) {
        // The first link whose text begins so; what it opens is judged.
        await settle(page, 1);
        const text = `starts-with(normalize-space(), ${quoted(follow)})`;
        const link = await page.waitForSelector(`::-p-xpath(//td//a[${text}])`);
        // What the page before still asks is not judged.
        page.once("framenavigated", () => (seen = []));
        await Promise.all([page.waitForNavigation({ timeout: PATIENCE }), link.evaluate((a) => a.click())]);
      }
      await settle(page, panels);
      if (choice) {
        before = seen;
        seen = [];
        await choose(page, choice.title, choice.value);
        await settle(page, panels);
        await judgePatiently(() => judge(page, dashboard, seen, before, choice.variable));
        const affected = seen.filter(({ query }) => query.includes(named(choice.value))).length;
        if (affected === 0) problems.push(`choosing ${choice.value} changed no query`);
      }
      const judged = await judgePatiently(() =>
        judge(page, dashboard, seen, before, choice?.variable),
      );
      problems.push(...judged.problems);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      if (wide > width) problems.push(`the page is ${wide} pixels wide`);
      asked = judged.asked;
    } catch (error) {
      problems.push(String(error));
    }
    if (pictures) await picture(page, `${pictures}/${name}${choice ? "-" + choice.value.replace(/\W/g, "_") : ""}${narrow ? "-narrow" : ""}${dark ? "-dark" : ""}.png`, width).catch((error) => problems.push(String(error)));
    const opened = page.url();
    const seenQueries = follow ? seen.map(({ query }) => query) : [];
    console.log(JSON.stringify({ name, chosen: choice?.value ?? "All", asked, problems, opened, seen: seenQueries }));
    await page.close();
  }
} finally {
  await browser.close();
}
