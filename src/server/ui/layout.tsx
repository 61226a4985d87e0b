/** @jsxImportSource hono/jsx */
import type { Child } from "hono/jsx"

const ICON =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32' rx='7' fill='%23b3261e'/%3E%3Cpath d='M7 11h18v4h-6l-2 4h3v4H10v-4h3l-2-4H7z' fill='%23fff'/%3E%3C/svg%3E"

interface PageProps {
  title: string
  /** Paths of style sheets and scripts on this server. */
  styles: string[]
  scripts: string[]
  children?: Child
}

/** The frame of every page. */
export const Page = ({ title, styles, scripts, children }: PageProps) => (
  <html lang="en">
    <head>
      <meta charset="utf-8" />
      <meta name="viewport" content="width=device-width, initial-scale=1" />
      <meta name="color-scheme" content="light dark" />
      <title>{title}</title>
      <link rel="icon" href={ICON} />
      {styles.map((href) => (
        <link rel="stylesheet" href={href} />
      ))}
      {scripts.map((src) => (
        <script src={src} defer />
      ))}
    </head>
    <body>{children}</body>
  </html>
)

/** The page as an HTML document. */
export const document = (page: Child): string => `<!doctype html>${String(page)}`
