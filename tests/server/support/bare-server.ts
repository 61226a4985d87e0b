/**
 * A minimal HTTP server, the baseline of overhead.test.ts: it reads a JSON body and answers with fixed JSON. It sends its port to the
 * parent process, and then answers each message with its processor time so far, in milliseconds.
 */

const answer = JSON.stringify({
  choices: [{ message: { content: "The sky is blue because the air scatters light." } }],
})
const headers = { "content-type": "application/json" }

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: async (request) => {
    await request.json()
    return new Response(answer, { headers })
  },
})

process.on("message", () => {
  const { user, system } = process.cpuUsage()
  process.send?.((user + system) / 1000)
})
process.on("disconnect", () => process.exit(0))
process.send?.(server.port)
