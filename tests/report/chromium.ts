// The browser that pages are looked at with, where there is one.
import { existsSync } from 'node:fs';

const places = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Path of the browser; null where there is none. `EMULSION_CHROMIUM` names another. */
export const chromium: string | null =
  [process.env.EMULSION_CHROMIUM ?? '', ...places].find((path) => existsSync(path)) ?? null;

/** Continuous integration installs the browser, so that there its absence is a failure. */
export const mustHaveChromium: boolean = process.env.EMULSION_REQUIRE_CHROMIUM === '1';

export const howToInstall =
  'no Chromium to look at the page with: sudo apt-get install -y chromium, or name one by EMULSION_CHROMIUM';
