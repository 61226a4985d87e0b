import { Elysia } from "elysia"
import { responseBody } from "../schemas/documented.ts"
import { modelBody, modelList } from "../schemas/service.ts"
import type { ServerState } from "../state.ts"
import { endpoint } from "./openapi.ts"

/** `GET /v1/models` and `GET /v1/models/{model}`. */
export const modelRoutes = ({ models }: ServerState) =>
  new Elysia({ prefix: "/v1/models" })
    .get("", () => ({ object: "list" as const, data: models.all().map((model) => models.describe(model)) }), {
      response: { 200: responseBody(modelList) },
      detail: endpoint({ tag: "Models", summary: "The models served", response: modelList, errors: {} }),
    })
    .get("/:model", ({ params }) => models.describe(models.get(params.model)), {
      response: { 200: responseBody(modelBody) },
      detail: endpoint({ tag: "Models", summary: "One model", response: modelBody, errors: { 404: "No such model." } }),
    })
