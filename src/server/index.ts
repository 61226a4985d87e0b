import { createServer, type ServerOptions } from "./app.ts"

export { createServer, type ServerOptions } from "./app.ts"

export interface StartOptions extends ServerOptions {
  /** Default 127.0.0.1. */
  readonly host?: string
  /** Default 8080; 0 takes any free port. */
  readonly port?: number
}

export interface RunningServer {
  /** Where it listens, without a trailing slash. */
  readonly url: string
  /** Stops listening and drops open connections, which cancels what they generate. Safe twice. */
  stop(): Promise<void>
}

/**
 * Serves the models over HTTP; resolves once it listens.
 * @throws Error when the address is in use or not this machine's; the message names it.
 */
export async function startServer({
  host = "127.0.0.1",
  port = 8080,
  ...options
}: StartOptions): Promise<RunningServer> {
  const app = createServer(options)
  try {
    // Without reusePort: two servers that share a port would each get half of the requests.
    app.listen({ hostname: host, port, reusePort: false })
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new Error(`Cannot listen on ${host}:${port} (${reason}); choose another --port or --host.`, { cause })
  }
  const { server } = app
  if (server === null) throw new Error(`Cannot listen on ${host}:${port}.`)
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${server.port}`,
    stop: async () => {
      await server.stop(true)
    },
  }
}
