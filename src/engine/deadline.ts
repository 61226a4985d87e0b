import { OverloadedError } from "../errors.ts"
import type { GenerateRequest } from "./types.ts"

/** The longest time that a timer can wait. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1

/** Calls `late` with the error when the request's deadline passes. @returns the timer to clear when it ends before. */
export function startDeadline(
  { deadlineMs }: GenerateRequest,
  retryAfter: () => number,
  late: (error: OverloadedError) => void,
): ReturnType<typeof setTimeout> | undefined {
  if (deadlineMs === undefined) return undefined
  const message = `the request did not end within its ${deadlineMs} ms`
  const tell = () => late(new OverloadedError(message, "deadline", retryAfter()))
  return setTimeout(tell, Math.min(deadlineMs, LONGEST_TIMER_MS))
}
