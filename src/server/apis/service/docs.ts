/** `/swagger`: the API's description and Swagger UI, from this server alone. */

import { swagger } from "@elysiajs/swagger"
import { Elysia } from "elysia"
import stylePath from "swagger-ui-dist/swagger-ui.css" with { type: "file" }
import bundlePath from "swagger-ui-dist/swagger-ui-bundle.js" with { type: "file" }
import { version } from "../../../../package.json"
import type { ServerState } from "../../http/context.ts"
import { answerErrors } from "../../http/errors.ts"
import { swaggerPage } from "../../ui/swagger.tsx"
import { openAiError } from "../openai/wire.ts"

const file = (path: string, type: string) => () =>
  new Response(Bun.file(path), { headers: { "content-type": type, "cache-control": "public, max-age=86400" } })

const hidden = { detail: { hide: true } }

/** The plugin makes the description. Its own page would load scripts from the web, so this one takes its place. */
export const docsRoutes = ({ locked }: ServerState) =>
  new Elysia()
    .onError(answerErrors(openAiError))
    .get("/swagger/assets/swagger-ui.js", file(bundlePath, "text/javascript; charset=utf-8"), hidden)
    .get("/swagger/assets/swagger-ui.css", file(stylePath, "text/css; charset=utf-8"), hidden)
    .use(
      swagger({
        path: "/swagger",
        documentation: {
          components: {
            securitySchemes: {
              apiKey: { type: "http", scheme: "bearer" },
              xApiKey: { type: "apiKey", in: "header", name: "x-api-key" },
            },
          },
          // One of the two.
          security: locked ? [{ apiKey: [] }, { xApiKey: [] }] : [],
          info: {
            title: "ROCmForge",
            version,
            description: "Text generation on this machine, with the parts of OpenAI's HTTP API that are listed here.",
          },
          tags: ["Generation", "Responses", "Anthropic", "Ollama", "llama-server", "vLLM", "Models", "Service"].map(
            (name) => ({ name }),
          ),
        },
      }),
    )
    .get("/swagger", () => swaggerPage(), hidden)
