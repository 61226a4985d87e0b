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

/** The frame that all pages share. */
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

/** Restricts a page to scripts and requests of this server, even if an attacker's text ends up in the page. */
const HEADERS = {
  "content-type": "text/html; charset=utf-8",
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
} as const

/** A page as an HTML response. */
export const htmlResponse = (page: Child): Response =>
  new Response(`<!doctype html>${String(page)}`, { headers: HEADERS })
