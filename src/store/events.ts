/** What a download tells whoever shows it. */
export type StoreEvent =
  /** A sentence for the user. */
  | { type: "note"; message: string }
  /** `total` is `undefined` when the source does not say. */
  | { type: "start"; label: string; total: number | undefined; done: number }
  | { type: "progress"; done: number }
  | { type: "end"; ok: boolean }

export type StoreListener = (event: StoreEvent) => void
