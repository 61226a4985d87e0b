/** llama-server's own routes. */

import { Elysia } from "elysia"
import type { ServerState } from "../../http/context.ts"
import { llamaChatRoutes } from "./chat.ts"
import { llamaCompletionRoutes } from "./completion.ts"
import { llamaEmbeddingRoutes } from "./embedding.ts"
import { llamaInfoRoutes } from "./info.ts"

export const llamaServerRoutes = (state: ServerState) =>
  new Elysia()
    .use(llamaChatRoutes(state))
    .use(llamaCompletionRoutes(state))
    .use(llamaEmbeddingRoutes(state))
    .use(llamaInfoRoutes(state))
