--- Neovim's file types as LSP's language identifiers, where the two differ.
local IDENTIFIERS = {
  [''] = 'plaintext',
  bash = 'shellscript',
  bib = 'bibtex',
  cs = 'csharp',
  dosbatch = 'bat',
  eruby = 'erb',
  fortran = 'fortran-modern',
  gitcommit = 'git-commit',
  gitrebase = 'git-rebase',
  make = 'makefile',
  mysql = 'sql',
  objc = 'objective-c',
  objcpp = 'objective-cpp',
  plaintex = 'tex',
  plsql = 'sql',
  ps1 = 'powershell',
  sh = 'shellscript',
  tex = 'latex',
  text = 'plaintext',
  zsh = 'shellscript',
}

local M = {}

---@param filetype string
---@return string
function M.identifier(filetype)
  local first = vim.split(filetype, '.', { plain = true })[1] -- 'yaml.ansible' is yaml
  return IDENTIFIERS[first] or first
end

return M
