// Opens pages in Chromium and reads them:
//
//   node read.mjs '{"address", "chromium", "pictures"?, "open": [{"name", "path", "click"?, "width"?,
//     "height"?, "dark"?}]}'
//
// Prints one JSON object for each: {name, address, text, alerts: [...]}. `click` lists texts that are
// clicked in turn.
import puppeteer from "puppeteer-core";

const { address, chromium, pictures, open } = JSON.parse(process.argv[2]);
const PATIENCE = 30_000;

const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"],
});
const settle = (page) => page.waitForNetworkIdle({ idleTime: 700, timeout: PATIENCE });
// The smallest thing to click that has a text.
const smallest = (text) =>
  [...document.querySelectorAll("a, button, [role=button], [role=tab]")]
    .filter((element) => element.innerText.includes(text))
    .toSorted((a, b) => a.innerText.length - b.innerText.length)[0];
try {
  for (const { name, path, click = [], width = 1600, height = 1000, dark = false } of open) {
    const page = await browser.newPage();
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([
      { name: "prefers-color-scheme", value: dark ? "dark" : "light" },
    ]);
    await page.goto(`${address}${path}`, { timeout: PATIENCE });
    await settle(page);
    for (const text of click) {
      await (await page.waitForFunction(smallest, { timeout: PATIENCE }, text)).click();
      await settle(page);
    }
    if (pictures) await page.screenshot({ path: `${pictures}/${name}.png` });
    const alerts = await page.$$eval('[role="alert"]', (all) => all.map((one) => one.textContent));
    const text = await page.$eval("body", (body) => body.innerText);
    console.log(JSON.stringify({ name, address: page.url(), text, alerts }));
    await page.close();
  }
} finally {
  await browser.close();
}
