"""The ground floor: errors, files, options, stamps, programs, launching. Imports nothing of Egret's."""
