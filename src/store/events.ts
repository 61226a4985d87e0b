/** Progress of a download. */
export type StoreEvent =
  /** A message for the user. */
  | { type: "note"; message: string }
  /** Bytes. `total` is `undefined` if the source does not give the size. */
  | { type: "start"; label: string; total: number | undefined; done: number }
  | { type: "progress"; done: number }
  | { type: "end"; ok: boolean }

export type StoreListener = (event: StoreEvent) => void
