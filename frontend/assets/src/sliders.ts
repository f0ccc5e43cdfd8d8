// Weights as shares in percent: moving one slider rescales the others, so that all of them sum to 100.

/** The others' shares, scaled to what is left; evenly where they had nothing. Whole numbers that sum to 100. */
export function rescale(shares: number[], moved: number, value: number): number[] {
  const wanted = Math.min(100, Math.max(0, Math.round(value)));
  const left = 100 - wanted;
  const rest = shares.reduce((sum, share, index) => (index === moved ? sum : sum + share), 0);
  const count = shares.length - 1;
  let passed = 0;
  let given = 0;
  let seen = 0;
  return shares.map((share, index) => {
    if (index === moved) return wanted;
    seen += 1;
    passed += rest > 0 ? share / rest : 1 / count;
    const upTo = seen === count ? left : Math.round(left * passed);
    const own = upTo - given;
    given = upTo;
    return own;
  });
}

function written(count: number): string {
  return count.toLocaleString(document.documentElement.lang || "en");
}

interface Slider {
  name: string;
  range: HTMLInputElement;
  number: HTMLInputElement;
}

export function installSliders(form: HTMLFormElement): void {
  const sliders: Slider[] = [];
  for (const row of form.querySelectorAll<HTMLElement>("[data-slider]")) {
    const range = row.querySelector<HTMLInputElement>(".slider-range");
    const number = row.querySelector<HTMLInputElement>(".slider-number");
    if (range && number) sliders.push({ name: row.dataset["slider"] ?? "", range, number });
  }
  const says = form.querySelector<HTMLElement>("[data-slider-says]");
  const calls = Number(form.dataset["calls"] ?? 0);

  const weights = (): number[] => sliders.map((one) => Math.max(0, Number(one.number.value) || 0));
  const shares = (): number[] => {
    const found = weights();
    const whole = found.reduce((sum, one) => sum + one, 0);
    return found.map((one) => (whole > 0 ? (one / whole) * 100 : 0));
  };

  function tell(): void {
    const found = shares();
    const shape = (calls > 0 ? form.dataset["says"] : form.dataset["saysNone"]) ?? "";
    says?.replaceChildren(
      ...sliders.map((one, index) => {
        const item = document.createElement("li");
        const share = found[index] ?? 0;
        item.textContent = shape
          .replace("{name}", one.name)
          .replace("{share}", `${+share.toFixed(1)}%`)
          .replace("{calls}", written(Math.round((share / 100) * calls)))
          .replace("{all}", written(calls));
        return item;
      }),
    );
  }

  function follow(): void {
    shares().forEach((share, index) => {
      const one = sliders[index];
      if (one) one.range.value = String(Math.round(share));
    });
    tell();
  }

  sliders.forEach((one, index) => {
    one.range.hidden = false;
    one.range.addEventListener("input", () => {
      rescale(shares(), index, Number(one.range.value)).forEach((share, place) => {
        const other = sliders[place];
        if (!other) return;
        other.range.value = String(share);
        other.number.value = String(share);
      });
      tell();
    });
    one.number.addEventListener("input", follow);
  });
  follow();
}
