/** Request bodies on the wire: compressed ones, and the content types that count as JSON. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import zlib from "node:zlib"
import { post } from "../support/http.ts"
import { type ScriptedServer, saying, serveScript } from "./support/script-model.ts"

const LIMIT = 2 ** 16
const TEXT = `${"Grüße. ".repeat(100)}😀`
const BODY = JSON.stringify({ model: "script", messages: [{ role: "user", content: TEXT }] })

const ENCODERS = {
  gzip: zlib.gzipSync,
  "x-gzip": zlib.gzipSync,
  "GZIP, identity": zlib.gzipSync,
  deflate: zlib.deflateSync,
  br: zlib.brotliCompressSync,
  zstd: zlib.zstdCompressSync,
  identity: (text: string | Uint8Array) => Buffer.from(text),
}

let server: ScriptedServer
beforeAll(async () => {
  server = await serveScript({ tokens: saying("Hi.") }, { maxBodyBytes: LIMIT }, { contextLength: 8192 })
})
afterAll(() => server[Symbol.asyncDispose]())

const send = async (body: Uint8Array | string, headers: Record<string, string>, path = "/apply-template") => {
  const response = await post(`${server.url}${path}`, typeof body === "string" ? body : Uint8Array.from(body), {
    headers,
  })
  return {
    status: response.status,
    body: (await response.json()) as { prompt?: string; error?: { message: string; code: string } },
  }
}
const encoded = (encoding: string, body: Uint8Array | string) => send(body, { "content-encoding": encoding })

describe("a compressed body", () => {
  for (const [encoding, encode] of Object.entries(ENCODERS))
    test(`in ${encoding} is decoded`, async () => {
      expect(await encoded(encoding, encode(BODY))).toEqual({ status: 200, body: { prompt: TEXT } })
    })

  test("in deflate without the header of zlib is decoded", async () => {
    expect((await encoded("deflate", zlib.deflateRawSync(BODY))).body.prompt).toBe(TEXT)
  })

  test("is decoded where it is sent in pieces", async () => {
    const bytes = zlib.gzipSync(BODY)
    const pieces = new ReadableStream({
      start(controller) {
        for (let i = 0; i < bytes.length; i += 50) controller.enqueue(bytes.subarray(i, i + 50))
        controller.close()
      },
    })
    const headers = { "content-type": "application/json", "content-encoding": "gzip" }
    const response = await fetch(`${server.url}/apply-template`, { method: "POST", headers, body: pieces })
    expect(await response.json()).toEqual({ prompt: TEXT })
  })

  for (const path of ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"])
    test(`is decoded at ${path}`, async () => {
      const messages = [{ role: "user", content: "Hello." }]
      const body = JSON.stringify({ model: "script", max_tokens: 9, messages, input: "Hello.", stream: false })
      const fields =
        path === "/v1/responses"
          ? /"max_tokens":9,|"messages":\[.*?\],/g
          : path === "/api/chat"
            ? /"max_tokens":9,|"input":"Hello.",/g
            : /"input":"Hello.",/g
      const { status } = await send(zlib.gzipSync(body.replace(fields, "")), { "content-encoding": "gzip" }, path)
      expect(status).toBe(200)
    })

  for (const encoding of ["gzip", "deflate", "br", "zstd"] as const)
    test(`in ${encoding} may not grow beyond the limit of bodies`, async () => {
      const fits = `"${"a".repeat(LIMIT - 2)}"`
      expect((await encoded(encoding, ENCODERS[encoding](fits))).status).toBe(400)
      const bomb = ENCODERS[encoding](Buffer.alloc(8 << 20))
      expect(bomb.length).toBeLessThan(2 ** 17)
      for (const data of [ENCODERS[encoding](`${fits} `), bomb]) {
        const { status, body } = await encoded(encoding, data)
        expect([status, body.error?.code]).toEqual([413, "request_too_large"])
      }
    })

  for (const encoding of ["gzip", "deflate", "br", "zstd"] as const)
    test(`that is not ${encoding} is refused`, async () => {
      for (const data of [BODY, ENCODERS[encoding](BODY).subarray(0, 30), new Uint8Array([1])]) {
        const { status, body } = await encoded(encoding, data)
        expect(status).toBe(400)
        expect(body.error?.code).toMatch(/^invalid_(encoding|json)$/)
      }
    })

  test("in zstd with a larger window than HTTP allows is refused", async () => {
    const stream = zlib.createZstdCompress({ params: { [zlib.constants.ZSTD_c_windowLog]: 27 } })
    const chunks: Buffer[] = []
    stream.on("data", (chunk) => chunks.push(chunk))
    stream.end(BODY)
    await new Promise((resolve) => stream.on("end", resolve))
    const { status, body } = await encoded("zstd", Buffer.concat(chunks))
    expect([status, body.error?.code]).toEqual([400, "invalid_encoding"])
  })

  test("in another encoding is refused, and the error names the known ones", async () => {
    for (const encoding of ["compress", "gzip, br", "constructor", "aws-chunked"]) {
      const { status, body } = await encoded(encoding, BODY)
      expect([status, body.error?.code]).toEqual([415, "unsupported_media_type"])
      expect(body.error?.message).toBe(
        `The content-encoding '${encoding}' is not supported; use one of gzip, deflate, br, zstd, or none.`,
      )
    }
  })
})

test("parameters and case of the content type do not matter", async () => {
  for (const type of [
    "application/json; charset=utf-8",
    "application/json;charset=UTF-8",
    "Application/JSON",
    " application/json ; x=y",
  ])
    expect((await send(BODY, { "content-type": type })).status).toBe(200)
})

test("other content types, which pages can send across origins, are refused", async () => {
  for (const type of [
    "text/plain",
    "application/x-www-form-urlencoded",
    "text/plain; application/json",
    "application/jsonp",
  ])
    expect((await send(BODY, { "content-type": type })).status).toBe(415)
  const response = await fetch(`${server.url}/apply-template`, { method: "POST", body: new TextEncoder().encode(BODY) })
  expect(response.status).toBe(415)
})
