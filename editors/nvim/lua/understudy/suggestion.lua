--- What a server suggested at a place, and what of it is left as the user types along. Reads buffers, changes nothing.
local api = vim.api
local lsp = require('understudy.lsp')

---@class understudy.Item
---@field text string with "\n" between lines
---@field col integer byte column where the text begins; it may lie before the cursor
---@field before string what stands on the line before it
---@field cover integer bytes after the cursor that accepting replaces
---@field command? lsp.Command for the server, once accepted

---@class understudy.Suggestion
---@field buf integer
---@field client vim.lsp.Client
---@field row integer from 0
---@field after string what stands on the line after the cursor
---@field items understudy.Item[]
---@field index integer the one that is shown
local Suggestion = {}
Suggestion.__index = Suggestion

---@return integer row from 0
---@return integer col in bytes
local function cursor()
  local row, col = unpack(api.nvim_win_get_cursor(0))
  return row - 1, col
end

local function line_at(buf, row)
  return api.nvim_buf_get_lines(buf, row, row + 1, false)[1] or ''
end

--- From the items of an answer, as of now; nil if none of them fits at the cursor.
---@param buf integer the current buffer
---@param client vim.lsp.Client
---@param answered lsp.InlineCompletionItem[]
---@return understudy.Suggestion?
function Suggestion.new(buf, client, answered)
  local row, col = cursor()
  local line = line_at(buf, row)
  local self = setmetatable({ buf = buf, client = client, row = row, after = line:sub(col + 1), items = {}, index = 1 }, Suggestion)
  for _, item in ipairs(answered) do
    local text, range = item.insertText, item.range
    local first, last = col, col
    if range then
      first = lsp.byte_column(line, range.start.character, client.offset_encoding)
      last = lsp.byte_column(line, range['end'].character, client.offset_encoding)
    end
    local here = not range or (range.start.line == row and range['end'].line == row)
    if type(text) == 'string' and here and first <= col then
      self.items[#self.items + 1] = {
        text = text:gsub('\r\n?', '\n'),
        col = first,
        before = line:sub(1, first),
        cover = math.max(0, last - col),
        command = item.command,
      }
    end
  end
  while self.items[1] and not self:rest() do
    table.remove(self.items, 1)
  end
  return self.items[1] and self or nil
end

---@return understudy.Item
function Suggestion:item()
  return self.items[self.index]
end

--- What is left of the shown item behind the cursor; nil if the user went another way, or typed all of it.
---@return string?
function Suggestion:rest()
  local item, row, col = self:item(), cursor()
  if api.nvim_get_current_buf() ~= self.buf or row < self.row or (row == self.row and col < item.col) then
    return nil
  end
  if line_at(self.buf, self.row):sub(1, item.col) ~= item.before or line_at(self.buf, row):sub(col + 1) ~= self.after then
    return nil
  end
  local typed = table.concat(api.nvim_buf_get_text(self.buf, self.row, item.col, row, col, {}), '\n')
  if not vim.startswith(item.text, typed) or #typed == #item.text then
    return nil
  end
  return item.text:sub(#typed + 1)
end

--- Show the item `step` further on, round and round; those that no longer fit are passed over.
---@param step 1|-1
function Suggestion:cycle(step)
  local from = self.index
  repeat
    self.index = (self.index - 1 + step) % #self.items + 1
  until self.index == from or self:rest()
end

return Suggestion
