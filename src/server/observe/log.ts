/** Structured logs: one JSON object per line, or the same fields as readable text. They never contain prompts, answers or keys. */

import { type DestinationStream, type Logger, pino, stdTimeFunctions } from "pino"
import type { LogLevel } from "./log-level.ts"

export type { Logger } from "pino"

export type LogFormat = "json" | "text"

export interface LogOptions {
  readonly format: LogFormat
  readonly level: LogLevel
  /** Receives one line per call, with its line break. */
  readonly write: (line: string) => void
}

export function createLog({ format, level, write }: LogOptions): Logger {
  const destination: DestinationStream = { write: format === "json" ? write : (line) => write(readable(line)) }
  return pino(
    {
      level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  )
}

/** Formats a JSON line as `TIME LEVEL message key=value …`. A stack trace follows on separate lines. */
function readable(line: string): string {
  const { time, level, msg, err, ...fields } = JSON.parse(line) as Record<string, unknown>
  const rest = Object.entries(fields).map(([name, value]) => ` ${name}=${plain(value)}`)
  const stack = typeof err === "object" && err !== null && "stack" in err ? `\n${err.stack}` : ""
  return `${time} ${String(level).toUpperCase().padEnd(5)} ${msg}${rest.join("")}${stack}\n`
}

const plain = (value: unknown): string =>
  typeof value === "string" && /^[\w.:=+/@-]+$/.test(value) ? value : JSON.stringify(value)
