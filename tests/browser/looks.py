"""What a reader's eyes need, computed in the page: contrast of every text, and whether anything sticks out."""

from __future__ import annotations

from playwright.async_api import Page

__all__ = ["faint_texts", "panels_that_overflow"]

# WCAG 2.2 §1.4.3: the contrast of each visible text with what is painted behind it, opacity included; disabled controls are exempt.
_FAINT = """async (least) => {
  const moving = () => document.getAnimations().filter((animation) => animation.playState === "running");
  for (let rounds = 20; rounds && moving().length; rounds -= 1) await Promise.all(moving().map((animation) => animation.finished.catch(() => null)));
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const mix = (top, bottom, share) => bottom.map((value, i) => top[i] * share + value * (1 - share));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (element, textColour) => {
    const chain = [];
    for (let at = element; at; at = at.parentElement) chain.unshift(at);
    let back = [255, 255, 255];
    const groups = [];
    for (const at of chain) {
      const style = getComputedStyle(at);
      if (style.opacity !== "1") groups.push([Number(style.opacity), back]);
      const [r, g, b, a] = rgba(style.backgroundColor);
      back = mix([r, g, b], back, a);
    }
    const [r, g, b, a] = rgba(textColour);
    let text = mix([r, g, b], back, a);
    for (const [opacity, behind] of groups.reverse()) [text, back] = [mix(text, behind, opacity), mix(back, behind, opacity)];
    const [high, low] = [luminance(text), luminance(back)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const found = new Map();
  const look = (element, colour, words) => {
    if (element.matches(":disabled, [aria-disabled='true']") || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return;
    const ratio = contrast(element, colour);
    const name = `${element.tagName.toLowerCase()}.${element.className} in ${element.parentElement.className}`;
    if (ratio < least && !found.has(name)) found.set(name, `${ratio.toFixed(2)} : 1 for “${words.trim().slice(0, 40)}” (${name})`);
  };
  let count = 0;
  for (const panel of document.querySelectorAll(".kit-panel")) {
    const texts = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const words = texts.currentNode.data;
      if (!words.trim()) continue;
      count += 1;
      look(texts.currentNode.parentElement, getComputedStyle(texts.currentNode.parentElement).color, words);
    }
    for (const input of panel.querySelectorAll("input, textarea")) {
      if (input.value) look(input, getComputedStyle(input).color, input.value);
      else look(input, getComputedStyle(input, "::placeholder").color, input.placeholder);
    }
  }
  return [count, [...found.values()]];
}"""

_OVERFLOWING = """() => {
  const wide = (element) => element.scrollWidth > element.clientWidth + 1;
  const found = [];
  if (wide(document.scrollingElement)) found.push("the page");
  for (const outer of document.querySelectorAll(".jp-WindowedPanel-outer, .jp-OutputArea-output")) if (wide(outer)) found.push(outer.className);
  for (const panel of document.querySelectorAll(".kit-panel, .kit-both-sides")) {
    if (wide(panel)) found.push(`${panel.className}: ${panel.scrollWidth} in ${panel.clientWidth} px`);
    const { left, right } = panel.getBoundingClientRect();
    for (const inner of panel.querySelectorAll("button, input, select, textarea, .kit-pill, .kit-rows, .kit-blocked, .kit-banner, .kit-table")) {
      const box = inner.getBoundingClientRect();
      if (!box.width || (box.left >= left - 1 && box.right <= right + 1)) continue;
      found.push(`${inner.className} “${inner.textContent.slice(0, 30)}” sticks out of ${panel.className}`);
    }
  }
  return found;
}"""


async def faint_texts(page: Page, least: float = 4.5) -> list[str]:
    """The visible texts of all panels whose contrast is below ``least``, one of each kind."""
    count, faint = await page.evaluate(_FAINT, least)
    assert count > 20, f"only {count} texts were looked at"
    return faint


async def panels_that_overflow(page: Page) -> list[str]:
    """What is wider than the place it has: the page, a cell's output, a panel, or a control in a panel."""
    return await page.evaluate(_OVERFLOWING)
