// Sends requests from a page of another origin in Chromium, as a page that a person happens to open:
//
//   node other_origin.mjs '{"chromium", "page", "logins"?, "requests": [{"name", "url", "init"}]}'
//
// Prints one JSON object: by name, what the page got to see: a status with the body, "opaque" (sent,
// and nothing may be read) or "blocked". `logins` are opened first, with user and password.
import puppeteer from "puppeteer-core";

const { chromium, page: address, logins = [], requests } = JSON.parse(process.argv[2]);
const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});
try {
  const page = await browser.newPage();
  for (const login of logins) await page.goto(login);
  await page.goto(address);
  const seen = await page.evaluate(async (all) => {
    const seen = {};
    for (const { name, url, init } of all) {
      const body = init.bytes && Uint8Array.from(init.bytes);
      try {
        const answer = await fetch(url, body ? { ...init, body } : init);
        seen[name] =
          answer.type === "opaque" ? "opaque" : `${answer.status} ${await answer.text()}`;
      } catch {
        seen[name] = "blocked";
      }
    }
    return seen;
  }, requests);
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}
