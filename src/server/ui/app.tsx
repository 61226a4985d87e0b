import { Hono } from "hono"
import statusScript from "./status.client.js" with { type: "text" }
import statusStyle from "./status.css" with { type: "text" }
import { statusPage } from "./status.tsx"
import swaggerScript from "./swagger.client.js" with { type: "text" }
import swaggerStyle from "./swagger.css" with { type: "text" }

const script = (source: string) => () => asset(source, "text/javascript; charset=utf-8")
const style = (source: string) => () => asset(source, "text/css; charset=utf-8")
const asset = (source: string, type: string) =>
  new Response(source, { headers: { "content-type": type, "cache-control": "no-cache" } })

/** The HTML pages and their assets. `fallback` answers every request that matches none of them. @param corsOrigins Shown on the status page. */
export const createUi = (fallback: (request: Request) => Response, corsOrigins: readonly string[]): Hono =>
  noPages(fallback)
    .get("/", () => statusPage(corsOrigins))
    .get("/ui/status.js", script(statusScript))
    .get("/ui/status.css", style(statusStyle))
    .get("/ui/swagger.js", script(swaggerScript))
    .get("/ui/swagger.css", style(swaggerStyle))

/** As `createUi`, without any page. */
export const noPages = (fallback: (request: Request) => Response): Hono =>
  new Hono()
    .notFound((context) => fallback(context.req.raw))
    .onError((error) => {
      // The server that mounts this app turns errors into responses.
      throw error
    })
