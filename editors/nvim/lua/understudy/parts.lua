--- How much of a suggestion to take: all, a word, a line.
local M = {}

-- Blanks (line ends too) and then either a word, by 'iskeyword', or a run of other signs.
local WORD = [[^\_s*\%(\k\+\|\%(\k\@!\S\)\+\)]]

---@alias understudy.Part 'whole'|'word'|'line'

--- The beginning of `rest` that is taken; never empty if `rest` is not.
---@param rest string
---@param part understudy.Part
---@return string
function M.cut(rest, part)
  if part == 'word' then
    local word = vim.fn.matchstr(rest, WORD)
    return word ~= '' and word or rest
  end
  if part == 'line' then
    return rest:match('^\n?[^\n]*')
  end
  return rest
end

return M
