import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core"

/** A headless browser that makes no network requests of its own. */
export const launchBrowser = (): Promise<Browser> =>
  chromium.launch({
    executablePath: process.env.CHROMIUM_PATH ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  })

export interface Visit extends AsyncDisposable {
  page: Page
  /** Problems of the page: console errors and warnings, failed requests, and requests to other hosts. */
  complaints: string[]
}

/** Opens a page of a server. */
export async function visit(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Visit> {
  const context = await browser.newContext(options)
  const page = await context.newPage()
  const { origin } = new URL(url)
  const complaints: string[] = []
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(`console: ${message.text()}`)
  })
  page.on("pageerror", (error) => complaints.push(`script: ${error.message}`))
  page.on("requestfailed", (request) => complaints.push(`failed: ${request.url()}`))
  page.on("response", (response) => {
    if (response.status() >= 400) complaints.push(`${response.status()}: ${response.url()}`)
  })
  page.on("request", (request) => {
    const { protocol, origin: other } = new URL(request.url())
    if (protocol !== "data:" && other !== origin) complaints.push(`external: ${request.url()}`)
  })
  await page.goto(url)
  return { page, complaints, [Symbol.asyncDispose]: () => context.close() }
}
