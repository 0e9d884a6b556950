--- Talking to a language server: the only file that knows how Neovim 0.10 and later versions differ.
local M = {}

local is_0_11 = vim.fn.has('nvim-0.11') == 1

--- Send a request for a buffer; what was typed and not yet told to the server goes before it.
---@param client vim.lsp.Client
---@param method string
---@param params table
---@param buf integer
---@param answered fun(err: lsp.ResponseError?, result: any)
---@return integer? id nil if the server is gone
function M.request(client, method, params, buf, answered)
  local sent, id
  if is_0_11 then
    sent, id = client:request(method, params, answered, buf)
  else
    sent, id = client.request(method, params, answered, buf)
  end
  return sent and id or nil
end

--- Take back a request that has not been answered.
---@param client vim.lsp.Client
---@param id integer
function M.cancel(client, id)
  if is_0_11 then
    client:cancel_request(id)
  else
    client.cancel_request(id)
  end
end

---@param client vim.lsp.Client
---@return boolean
function M.is_stopped(client)
  if is_0_11 then
    return client:is_stopped()
  end
  return client.is_stopped()
end

---@param client vim.lsp.Client
function M.stop(client)
  if is_0_11 then
    client:stop()
  else
    client.stop()
  end
end

--- The column that the server counts in `encoding`. Neovim 0.10's own function is wrong after an emoji near the line's end.
---@param line string
---@param col integer in bytes
---@param encoding 'utf-8'|'utf-16'|'utf-32'
---@return integer
local function units(line, col, encoding)
  if encoding == 'utf-8' then
    return col
  end
  if is_0_11 then
    return vim.str_utfindex(line, encoding, col, false)
  end
  local n_points, n_units = vim.str_utfindex(line, col)
  return encoding == 'utf-16' and n_units or n_points
end

--- The parameters that name the cursor's place.
---@param client vim.lsp.Client
---@return {textDocument: lsp.TextDocumentIdentifier, position: lsp.Position}
function M.cursor_params(client)
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  return {
    textDocument = { uri = vim.uri_from_bufnr(0) },
    position = { line = row - 1, character = units(vim.api.nvim_get_current_line(), col, client.offset_encoding) },
  }
end

--- The byte column of a column that the server counts in `encoding`; past the line's end means its end.
---@param line string
---@param character integer
---@param encoding 'utf-8'|'utf-16'|'utf-32'
---@return integer
function M.byte_column(line, character, encoding)
  if encoding == 'utf-8' then
    return math.min(character, #line)
  end
  if is_0_11 then
    return vim.str_byteindex(line, encoding, character, false)
  end
  local n_points, n_units = vim.str_utfindex(line)
  local utf16 = encoding == 'utf-16'
  return vim.str_byteindex(line, math.min(character, utf16 and n_units or n_points), utf16)
end

--- What this client can do, for `initialize`; 0.10 does not announce inline completion by itself.
---@param more table laid over it
---@return table
function M.capabilities(more)
  local base = vim.lsp.protocol.make_client_capabilities()
  base.textDocument.inlineCompletion = base.textDocument.inlineCompletion or { dynamicRegistration = false }
  return vim.tbl_deep_extend('force', base, more)
end

--- Neovim 0.12 can draw inline completions too; two would draw over each other.
---@param client vim.lsp.Client
function M.disable_native_drawing(client)
  local native = vim.lsp.inline_completion
  if native then
    native.enable(false, { client_id = client.id })
  end
end

return M
