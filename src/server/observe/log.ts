/** Structured logs: one JSON object a line, or the same as a line for people. Prompts, answers and keys are never part of them. */

import { type DestinationStream, type Logger, pino, stdTimeFunctions } from "pino"
import type { LOG_LEVELS } from "../../cli/options/schemas.ts"

export type { Logger } from "pino"

export type LogLevel = (typeof LOG_LEVELS)[number]
export type LogFormat = "json" | "text"

export interface LogOptions {
  readonly format: LogFormat
  readonly level: LogLevel
  /** Takes whole lines, each with its line break. */
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

/** `TIME LEVEL message key=value …`; a stack trace follows on lines of its own. */
function readable(line: string): string {
  const { time, level, msg, err, ...fields } = JSON.parse(line) as Record<string, unknown>
  const rest = Object.entries(fields).map(([name, value]) => ` ${name}=${plain(value)}`)
  const stack = typeof err === "object" && err !== null && "stack" in err ? `\n${err.stack}` : ""
  return `${time} ${String(level).toUpperCase().padEnd(5)} ${msg}${rest.join("")}${stack}\n`
}

const plain = (value: unknown): string =>
  typeof value === "string" && /^[\w.:=+/@-]+$/.test(value) ? value : JSON.stringify(value)
