/** The log levels, in a file without imports: the CLI's options need the names, and loading pino would delay every command. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const
export type LogLevel = (typeof LOG_LEVELS)[number]
