/** The OpenAPI document at `/swagger/json`, with the fields that tests read. */

export interface ApiSchema {
  example?: object
  properties?: Record<string, unknown>
}

export interface Operation {
  method: string
  path: string
  operationId: string
  tag: string
  /** Schema of the operation's JSON body, if it has a body. */
  body: ApiSchema | undefined
  responses: Record<string, { content?: Record<string, unknown> }>
}

interface Document {
  paths: Record<
    string,
    Record<
      string,
      {
        operationId: string
        tags?: string[]
        requestBody?: { content: Record<string, { schema: ApiSchema }> }
        responses: Operation["responses"]
      }
    >
  >
}

/** Every operation in a server's document. */
export async function operationsOf(url: string, headers: Record<string, string> = {}): Promise<Operation[]> {
  const { paths } = (await (await fetch(`${url}/swagger/json`, { headers })).json()) as Document
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { operationId, tags, requestBody, responses }]) => ({
      method: method.toUpperCase(),
      path,
      operationId,
      tag: tags?.[0] ?? "default",
      body: requestBody?.content["application/json"]?.schema,
      responses,
    })),
  )
}
